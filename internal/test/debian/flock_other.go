//go:build !unix

package debian

import (
	"errors"
	"os"
)

// flock fails: there are no Debian packages here.
func flock(*os.File) error { return errors.ErrUnsupported }
