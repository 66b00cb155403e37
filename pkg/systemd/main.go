package systemd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Main is the main function of a daemon, except for the call of os.Exit:
//
//	func main() { os.Exit(systemd.Main(serve)) }
//
// It calls Start, AcceptReloads and serve, and then closes the service. serve sets the service up,
// and returns the result of Run or Drain. Main returns the exit code: 0, or 1 after it has written
// the error to stderr, in one line that begins with the name of the program.
//
// If the only argument of the program is "reload", Main calls [RequestReload] instead, so that the
// unit can have ExecReload=/usr/local/bin/httpd reload. Main uses no other argument.
func Main(serve func(ctx context.Context, svc *Service) error) int {
	do := func(ctx context.Context) error { return withService(ctx, serve) }
	if slices.Equal(os.Args[1:], []string{"reload"}) {
		do = RequestReload
	}
	if err := do(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", filepath.Base(os.Args[0]), strings.ReplaceAll(err.Error(), "\n", "; "))
		return 1
	}
	return 0
}

func withService(ctx context.Context, serve func(ctx context.Context, svc *Service) error) error {
	svc, err := Start(ctx)
	if err != nil {
		return err
	}
	defer svc.Close()
	if err := svc.AcceptReloads(); err != nil {
		return err
	}
	return serve(ctx, svc)
}
