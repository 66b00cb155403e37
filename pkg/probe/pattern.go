package probe

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// A Pattern is looked for in a greeting. Make one with [Text] or [Regexp].
type Pattern struct {
	source string
	re     *regexp.Regexp // nil: source is plain text
}

// Text is found where the greeting contains exactly these bytes.
func Text(s string) Pattern { return Pattern{source: s} }

// Regexp is found where expr (regexp/syntax) matches; ^ and $ match at each line, and
// a line's CR is not part of it. While the greeting is still coming, whole lines only
// are looked at.
func Regexp(expr string) (Pattern, error) {
	re, err := regexp.Compile("(?m)" + expr)
	if syntax, ok := errors.AsType[*syntax.Error](err); ok {
		return Pattern{}, fmt.Errorf("%q: %s", expr, syntax.Code)
	}
	return Pattern{source: expr, re: re}, nil
}

// String returns the text or expression.
func (p Pattern) String() string { return p.source }

// in reports whether p is in text, which is all there will be if whole.
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
