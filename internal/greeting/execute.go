package greeting

import (
	"errors"
	"fmt"
	"strings"
	"text/template/parse"
	"time"
)

// A run is a template that is being executed for one visitor. It does what text/template
// would do; why that does not do it is told in docs/decisions/greeting-templates.md.
type run struct {
	visitor visitor
	room    int        // how long the text may become
	vars    []variable // the latest of a name is meant
}

type variable struct {
	name  string
	value any
}

// missing is what a pipeline's first command gets from the one before it.
type missing struct{}

func execute(tree *parse.Tree, dst []byte, v visitor) ([]byte, error) {
	r := run{visitor: v, room: len(dst) + MaxLength}
	return r.list(dst, tree.Root)
}

// list appends what nodes say.
func (r *run) list(dst []byte, list *parse.ListNode) ([]byte, error) {
	if list == nil {
		return dst, nil
	}
	var err error
	for _, node := range list.Nodes {
		switch node := node.(type) {
		case *parse.TextNode:
			dst = append(dst, node.Text...)
		case *parse.ActionNode:
			dst, err = r.action(dst, node)
		case *parse.IfNode:
			dst, err = r.branch(dst, node)
		}
		if err == nil && len(dst) > r.room {
			err = errTooLong
		}
		if err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func (r *run) action(dst []byte, node *parse.ActionNode) ([]byte, error) {
	if name, ok := onlyField(node.Pipe); ok {
		return named(fields, name).append(dst, r.visitor), nil
	}
	value, err := r.pipe(node.Pipe)
	if err != nil {
		return dst, fmt.Errorf("line %d of the template: %s: %w", node.Line, node, err)
	}
	if len(node.Pipe.Decl) > 0 {
		return dst, nil
	}
	return fmt.Append(dst, value), nil
}

func (r *run) branch(dst []byte, node *parse.IfNode) ([]byte, error) {
	outside := len(r.vars)
	defer func() { r.vars = r.vars[:outside] }()
	value, err := r.pipe(node.Pipe)
	if err != nil {
		return dst, fmt.Errorf("line %d of the template: {{if %s}}: %w", node.Line, node.Pipe, err)
	}
	if truth(value) {
		return r.list(dst, node.List)
	}
	return r.list(dst, node.ElseList)
}

// pipe is the value of a pipeline. A variable that it declares is there from now on.
func (r *run) pipe(node *parse.PipeNode) (value any, err error) {
	value = missing{}
	for _, command := range node.Cmds {
		if value, err = r.command(command, value); err != nil {
			return nil, err
		}
	}
	for _, decl := range node.Decl {
		if !node.IsAssign {
			r.vars = append(r.vars, variable{decl.Ident[0], value})
			continue
		}
		v, err := r.latest(decl.Ident[0])
		if err != nil {
			return nil, err
		}
		v.value = value
	}
	return value, nil
}

// latest is the variable that a name means. The parser knows of it, but where it is
// declared among the arguments of and and or, that may have been skipped.
func (r *run) latest(name string) (*variable, error) {
	for i := len(r.vars) - 1; i >= 0; i-- {
		if r.vars[i].name == name {
			return &r.vars[i], nil
		}
	}
	return nil, fmt.Errorf("%s has no value yet: declare it in an action of its own", name)
}

// command is the value of a function with its arguments, or of an operand. The last
// argument may come from the command before.
func (r *run) command(node *parse.CommandNode, last any) (any, error) {
	args := node.Args[1:]
	switch first := node.Args[0].(type) {
	case *parse.IdentifierNode:
		return r.function(first.Ident, args, last)
	case *parse.FieldNode:
		return r.field(first.Ident, args, last)
	case *parse.VariableNode:
		if first.Ident[0] == "$" {
			return r.field(first.Ident[1:], args, last)
		}
		v, err := r.latest(first.Ident[0])
		if err != nil {
			return nil, err
		}
		return r.chain(v.value, first.Ident, args, last)
	case *parse.ChainNode:
		value, err := r.argument(first.Node, anything)
		if err != nil {
			return nil, err
		}
		return r.chain(value, append([]string{first.Node.String()}, first.Field...), args, last)
	default:
		if err := noArguments(first.String(), args, last); err != nil {
			return nil, err
		}
		return r.argument(first, anything)
	}
}

func noArguments(name string, args []parse.Node, last any) error {
	if _, none := last.(missing); none && len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes no argument", name)
}

// field is the value of .IP or .Time.Year, without dots.
func (r *run) field(names []string, args []parse.Node, last any) (any, error) {
	return r.chain(named(fields, names[0]).value(r.visitor), names, args, last)
}

// chain calls methods of value, which names[0] is the name of, one after the other. The
// last one gets the arguments.
func (r *run) chain(value any, names []string, args []parse.Node, last any) (any, error) {
	if len(names) == 1 {
		return value, noArguments(names[0], args, last)
	}
	for i, name := range names[1:] {
		var given []parse.Node
		var final any = missing{}
		if i == len(names)-2 {
			given, final = args, last
		}
		m := named(methods, name)
		if !m.has(value) {
			return nil, fmt.Errorf("%s has no .%s", names[i], name)
		}
		values, err := r.arguments(name, m.parameters, false, given, final)
		if err != nil {
			return nil, err
		}
		value = m.call(value, values)
	}
	return value, nil
}

func (r *run) function(name string, args []parse.Node, last any) (any, error) {
	f := named(functions, name)
	if f.call == nil {
		return r.logic(name, args, last)
	}
	values, err := r.arguments(name, f.parameters, f.variadic, args, last)
	if err != nil {
		return nil, err
	}
	value, err := f.call(values)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if text, ok := value.(string); ok && len(text) > MaxLength {
		return nil, errTooLong // though it might be said in part: there is no end to what variables can grow to
	}
	return value, nil
}

// logic is and and or, which look no further than they must.
func (r *run) logic(name string, args []parse.Node, last any) (value any, err error) {
	_, none := last.(missing)
	if none && len(args) == 0 {
		return nil, fmt.Errorf("%s takes 1 argument or more, not 0", name)
	}
	for _, arg := range args {
		if value, err = r.argument(arg, anything); err != nil || truth(value) == (name == "or") {
			return value, err
		}
	}
	if !none {
		value = last
	}
	return value, nil
}

// A parameter is what a function takes.
type parameter int

const (
	anything parameter = iota
	aString
	anInt
	aDuration
)

// arguments are the values of args, and then of last. Those beyond the parameters are
// anything, and there are none unless variadic.
func (r *run) arguments(name string, parameters []parameter, variadic bool, args []parse.Node, last any) ([]any, error) {
	given := len(args)
	_, none := last.(missing)
	if !none {
		given++
	}
	if given < len(parameters) || given > len(parameters) && !variadic {
		takes := fmt.Sprintf("%d arguments", len(parameters))
		switch {
		case len(parameters) == 0:
			takes = "no argument"
		case len(parameters) == 1:
			takes = "1 argument"
		}
		if variadic {
			takes += " or more"
		}
		return nil, fmt.Errorf("%s takes %s, not %d", name, takes, given)
	}
	want := func(i int) parameter {
		if i < len(parameters) {
			return parameters[i]
		}
		return anything
	}
	values := make([]any, 0, given)
	for i, arg := range args {
		value, err := r.argument(arg, want(i))
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	if !none {
		if err := fits(last, want(len(args))); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		values = append(values, last)
	}
	return values, nil
}

// argument is the value of an operand.
func (r *run) argument(node parse.Node, want parameter) (value any, err error) {
	switch node := node.(type) {
	case *parse.StringNode:
		value = node.Text
	case *parse.BoolNode:
		value = node.True
	case *parse.NumberNode:
		switch {
		case want == anInt && node.IsInt:
			return int(node.Int64), nil
		case want == aDuration && node.IsInt:
			return time.Duration(node.Int64), nil
		}
		value, err = constant(node)
	case *parse.PipeNode:
		value, err = r.pipe(node)
	default: // a command without arguments
		value, err = r.command(&parse.CommandNode{Args: []parse.Node{node}}, missing{})
	}
	if err != nil {
		return nil, err
	}
	if err := fits(value, want); err != nil {
		return nil, fmt.Errorf("%s: %w", node, err)
	}
	return value, nil
}

func fits(value any, want parameter) error {
	ok := true
	switch want {
	case aString:
		_, ok = value.(string)
	case anInt:
		_, ok = value.(int)
	case aDuration:
		_, ok = value.(time.Duration)
	}
	if !ok {
		return fmt.Errorf("is not %s", [...]string{"", "a string", "a whole number", "a number of nanoseconds"}[want])
	}
	return nil
}

// constant is the value of a number whose type is what it looks like.
func constant(n *parse.NumberNode) (any, error) {
	hex := strings.HasPrefix(strings.ToLower(n.Text), "0x") && !strings.ContainsAny(n.Text, "pP")
	switch {
	case n.IsComplex:
		return nil, fmt.Errorf("template: %s has no place in a greeting: it is a complex number", n.Text)
	case n.IsFloat && !hex && n.Text[0] != '\'' && strings.ContainsAny(n.Text, ".eEpP"):
		return n.Float64, nil
	case n.IsInt:
		return int(n.Int64), nil
	}
	return nil, fmt.Errorf("template: %s is too large a number", n.Text)
}

// truth is false for what is empty, or zero.
func truth(value any) bool {
	switch kind, v := kindOf(value); kind {
	case boolean:
		return v.truth
	case integer:
		return v.integer != 0
	case unsigned:
		return v.unsigned != 0
	case float:
		return v.float != 0
	case str:
		return v.str != ""
	}
	return true
}

// A kind is what can be compared with its like.
type kind int

const (
	other kind = iota
	boolean
	integer
	unsigned
	float
	str
)

// A plainValue has a value in the field of its kind.
type plainValue struct {
	truth    bool
	integer  int64
	unsigned uint64
	float    float64
	str      string
}

func kindOf(value any) (kind, plainValue) {
	switch v := value.(type) {
	case bool:
		return boolean, plainValue{truth: v}
	case int:
		return integer, plainValue{integer: int64(v)}
	case int64:
		return integer, plainValue{integer: v}
	case time.Month:
		return integer, plainValue{integer: int64(v)}
	case time.Weekday:
		return integer, plainValue{integer: int64(v)}
	case uint8:
		return unsigned, plainValue{unsigned: uint64(v)}
	case uint64:
		return unsigned, plainValue{unsigned: v}
	case float64:
		return float, plainValue{float: v}
	case string:
		return str, plainValue{str: v}
	}
	return other, plainValue{}
}

var (
	errCompare = errors.New("these two can't be compared: both must be numbers, or strings")
	errOrder   = errors.New("this has no order: compare numbers, or strings")
)

// equal compares whole numbers whatever their sign.
func equal(a, b any) (bool, error) {
	kindA, plainA := kindOf(a)
	kindB, plainB := kindOf(b)
	switch {
	case kindA == other && kindB == other:
		return a == b, nil
	case kindA == kindB:
		return plainA == plainB, nil
	case kindA == integer && kindB == unsigned:
		return plainA.integer >= 0 && uint64(plainA.integer) == plainB.unsigned, nil
	case kindA == unsigned && kindB == integer:
		return plainB.integer >= 0 && uint64(plainB.integer) == plainA.unsigned, nil
	}
	return false, errCompare
}

func less(a, b any) (bool, error) {
	kindA, plainA := kindOf(a)
	kindB, plainB := kindOf(b)
	switch {
	case kindA == other || kindB == other:
		return false, errOrder
	case kindA == integer && kindB == unsigned:
		return plainA.integer < 0 || uint64(plainA.integer) < plainB.unsigned, nil
	case kindA == unsigned && kindB == integer:
		return plainB.integer >= 0 && plainA.unsigned < uint64(plainB.integer), nil
	case kindA != kindB:
		return false, errCompare
	}
	switch kindA {
	case integer:
		return plainA.integer < plainB.integer, nil
	case unsigned:
		return plainA.unsigned < plainB.unsigned, nil
	case float:
		return plainA.float < plainB.float, nil
	case str:
		return plainA.str < plainB.str, nil
	}
	return false, errOrder
}

// lessOrEqual is not less the other way round: for what has no order, it is an error.
func lessOrEqual(a, b any) (bool, error) {
	if yes, err := less(a, b); yes || err != nil {
		return yes, err
	}
	return equal(a, b)
}
