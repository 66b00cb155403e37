package main

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// A fault replaces the text between two offsets of a file.
type fault struct {
	start, end int
	text       string
	line       int
}

func (f fault) apply(text []byte) []byte {
	return slices.Concat(text[:f.start], []byte(f.text), text[f.end:])
}

// describe returns the number of the line, and its text before and after.
func (f fault) describe(text []byte) string {
	oneLine := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	first := strings.LastIndexByte(string(text[:f.start]), '\n') + 1
	last := len(text)
	if i := strings.IndexByte(string(text[f.end:]), '\n'); i >= 0 {
		last = f.end + i
	}
	before := oneLine(string(text[first:last]))
	after := oneLine(string(text[first:f.start]) + f.text + string(text[f.end:last]))
	return strconv.Itoa(f.line) + ": " + before + " -> " + after
}

// swapped has what takes the place of an operator, one fault each. What makes no sense
// for the operands, as minus for strings, does not compile and does not count.
var swapped = map[token.Token][]token.Token{
	token.EQL:  {token.NEQ},
	token.NEQ:  {token.EQL},
	token.LSS:  {token.LEQ, token.GEQ},
	token.LEQ:  {token.LSS, token.GTR},
	token.GTR:  {token.GEQ, token.LEQ},
	token.GEQ:  {token.GTR, token.LSS},
	token.LAND: {token.LOR},
	token.LOR:  {token.LAND},
	token.ADD:  {token.SUB},
	token.SUB:  {token.ADD},
	token.MUL:  {token.QUO},
	token.QUO:  {token.MUL},
	token.SHL:  {token.SHR},
	token.SHR:  {token.SHL},
}

// finder collects the faults of one file.
type finder struct {
	file   *token.File
	text   []byte
	faults []fault
}

// faultsOf returns the faults to plant in a file, in the order of its lines.
func faultsOf(path string, text []byte) ([]fault, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &finder{file: files.File(file.FileStart), text: text}
	for _, declaration := range file.Decls {
		if imports, ok := declaration.(*ast.GenDecl); ok && imports.Tok == token.IMPORT {
			continue
		}
		ast.Inspect(declaration, f.visit)
	}
	slices.SortStableFunc(f.faults, func(a, b fault) int { return cmp.Compare(a.start, b.start) })
	return f.faults, nil
}

func (f *finder) add(pos, end token.Pos, text string) {
	f.faults = append(f.faults, fault{f.file.Offset(pos), f.file.Offset(end), text, f.file.Line(pos)})
}

func (f *finder) source(n ast.Node) string {
	return string(f.text[f.file.Offset(n.Pos()):f.file.Offset(n.End())])
}

func (f *finder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		for _, operator := range swapped[n.Op] {
			f.add(n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), operator.String())
		}
	case *ast.BasicLit:
		if number, err := strconv.ParseInt(n.Value, 0, 32); n.Kind == token.INT && err == nil {
			f.add(n.Pos(), n.End(), strconv.FormatInt(number+1, 10))
		}
	case *ast.Ident:
		switch n.Name {
		case "true":
			f.add(n.Pos(), n.End(), "false")
		case "false":
			f.add(n.Pos(), n.End(), "true")
		}
	case *ast.IfStmt:
		f.negate(n.Cond)
		f.add(n.Cond.Pos(), n.Cond.End(), "false && ("+f.source(n.Cond)+")")
		f.add(n.Cond.Pos(), n.Cond.End(), "true || ("+f.source(n.Cond)+")")
	case *ast.ForStmt:
		f.negate(n.Cond)
	case *ast.SwitchStmt:
		for _, clause := range n.Body.List {
			if n.Tag == nil {
				for _, condition := range clause.(*ast.CaseClause).List {
					f.negate(condition)
				}
			}
		}
	case *ast.BlockStmt:
		f.remove(n.List)
	case *ast.CaseClause:
		f.remove(n.Body)
	case *ast.CommClause:
		f.remove(n.Body)
	case *ast.FuncDecl:
		if n.Body != nil {
			f.returns(n.Type, n.Body)
		}
	case *ast.FuncLit:
		f.returns(n.Type, n.Body)
	}
	return true
}

// negate negates the parts of a condition that are no comparisons, since of those the
// operator is swapped.
func (f *finder) negate(condition ast.Expr) {
	switch e := ast.Unparen(condition).(type) {
	case nil:
	case *ast.BinaryExpr:
		if e.Op == token.LAND || e.Op == token.LOR {
			f.negate(e.X)
			f.negate(e.Y)
		}
	default:
		f.add(e.Pos(), e.End(), "!("+f.source(e)+")")
	}
}

// remove removes each statement that declares nothing: a call, a defer, an assignment, a
// send, a break. What is in a compound statement is removed where visit gets to it.
func (f *finder) remove(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE {
				continue
			}
		case *ast.IncDecStmt:
			other := "++"
			if s.Tok == token.INC {
				other = "--"
			}
			f.add(s.TokPos, s.End(), other)
		case *ast.ExprStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt, *ast.BranchStmt:
		default:
			continue
		}
		f.add(s.Pos(), s.End(), "{}")
	}
}

// returns has a function return no error, and the opposite of a condition.
func (f *finder) returns(signature *ast.FuncType, body *ast.BlockStmt) {
	var types []string
	if signature.Results != nil {
		for _, field := range signature.Results.List {
			for range max(1, len(field.Names)) {
				types = append(types, f.source(field.Type))
			}
		}
	}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false // visit gets to it
		case *ast.ReturnStmt:
			if len(n.Results) != len(types) {
				return true
			}
			for i, result := range n.Results {
				switch value := f.source(result); {
				case types[i] == "error" && value != "nil":
					f.add(result.Pos(), result.End(), "nil")
				case types[i] == "bool" && value != "true" && value != "false":
					f.negate(result)
				}
			}
		}
		return true
	})
}
