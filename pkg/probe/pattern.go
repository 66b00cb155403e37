package probe

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// A Pattern is searched for in a greeting. [Text] and [Regexp] return a Pattern.
type Pattern struct {
	source string
	re     *regexp.Regexp // nil: source is plain text
}

// Text returns a Pattern that matches exactly these bytes.
func Text(s string) Pattern { return Pattern{source: s} }

// Regexp returns a Pattern for the expression expr (regexp/syntax). ^ and $ match at each line, and
// the CR at the end of a line is ignored. While the greeting is still arriving, only whole lines
// are searched.
func Regexp(expr string) (Pattern, error) {
	re, err := regexp.Compile("(?m)" + expr)
	if syntax, ok := errors.AsType[*syntax.Error](err); ok {
		return Pattern{}, fmt.Errorf("%q: %s", expr, syntax.Code)
	}
	return Pattern{source: expr, re: re}, nil
}

// String returns the text or the expression.
func (p Pattern) String() string { return p.source }

// in reports whether p is found in text. whole says that text is complete.
func (p Pattern) in(text []byte, whole bool) bool {
	if p.re == nil {
		return bytes.Contains(text, []byte(p.source))
	}
	if !whole {
		text = text[:bytes.LastIndexByte(text, '\n')+1]
		if len(text) == 0 {
			return false
		}
	}
	return p.re.Match(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")))
}
