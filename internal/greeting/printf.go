package greeting

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// printfMisfit returns the first result of a printf whose verb does not fit its value, in any branch; "" if there is none.
// It executes the template with all branches of each {{if}}, one after the other, and discards the output.
func printfMisfit(parsed *template.Template) (misfit string) {
	everyBranch := parsed.Copy()
	if everyBranch.Root = flatten(everyBranch.Root); everyBranch.Root == nil {
		return ""
	}
	record := func(format string, args ...any) (string, error) {
		text := fmt.Sprintf(format, args...)
		if misfit == "" && strings.Contains(text, "%!") && !strings.Contains(format, "%!") && !strings.Contains(format, "%%") {
			misfit = text
		}
		return limit(text)
	}
	t, err := template.New(templateName).Funcs(limited).Funcs(template.FuncMap{"printf": record, "and": last, "or": last}).AddParseTree(templateName, everyBranch)
	if err == nil {
		_ = t.Execute(io.Discard, clientOf("", sample)) // fails if a branch only works if its condition is true
	}
	return misfit
}

// last replaces functions that may skip arguments, such as and and or. All arguments of last are evaluated.
func last(args ...any) any { return args[len(args)-1] }

// flatten replaces each {{if}} by its condition and all its branches. It returns nil if a variable gets another value,
// since this value depends on the branch.
func flatten(list *parse.ListNode) *parse.ListNode {
	flat := &parse.ListNode{NodeType: parse.NodeList, Pos: list.Pos}
	for _, node := range list.Nodes {
		switch node := node.(type) {
		case *parse.ActionNode:
			if node.Pipe.IsAssign {
				return nil
			}
			flat.Nodes = append(flat.Nodes, node)
		case *parse.IfNode:
			flat.Nodes = append(flat.Nodes, &parse.ActionNode{NodeType: parse.NodeAction, Pos: node.Pos, Line: node.Line, Pipe: node.Pipe})
			for _, branch := range slices.DeleteFunc([]*parse.ListNode{node.List, node.ElseList}, func(l *parse.ListNode) bool { return l == nil }) {
				all := flatten(branch)
				if all == nil {
					return nil
				}
				flat.Nodes = append(flat.Nodes, all.Nodes...)
			}
		default:
			flat.Nodes = append(flat.Nodes, node)
		}
	}
	return flat
}
