package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"greetd.example/internal/words"
)

// DropInDirectory returns the directory of the drop-ins for the file at path. Drop-ins are its *.yaml files.
func DropInDirectory(path string) string { return path + ".d" }

// dropIns returns the drop-ins of the file at path in lexical order, the order in which they are merged.
// It ignores hidden files and other names. *.yml and *.YAML files are errors, since their settings would be
// missing without notice. If the directory does not exist, there are no drop-ins.
func dropIns(path string, found *problems) (paths []string) {
	directory := DropInDirectory(path)
	entries, err := os.ReadDir(directory) // sorted by name
	if errors.Is(err, fs.ErrNotExist) && !isLink(directory) {
		return nil
	}
	if err != nil {
		found.add(origin{from: directory}, "", "%s", unreadable(directory, err))
		return nil
	}
	for _, entry := range entries {
		path := filepath.Join(directory, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), "."):
		case strings.HasSuffix(entry.Name(), ".yaml"):
			paths = append(paths, path)
		case slices.Contains([]string{".yaml", ".yml"}, strings.ToLower(filepath.Ext(path))):
			found.add(origin{from: path}, "", "would not be read: a drop-in ends in .yaml; rename it, or move it out of the directory")
		}
	}
	return paths
}

// Vanished returns a [*Problem] if the file that was loaded, or the directory of its drop-ins, does not
// exist any more. A reload must not go on without them, since more clients could be greeted than before. A
// single drop-in may be removed. Vanished returns nil if nothing is missing.
func (l Loaded) Vanished() error {
	gone := func(path string) bool {
		_, err := os.Stat(path)
		return errors.Is(err, fs.ErrNotExist)
	}
	if l.Path != "" && gone(l.Path) {
		return &Problem{File: l.Path, Reason: "does not exist any more: restore it; only a start uses the defaults without a file"}
	}
	if len(l.DropIns) == 0 {
		return nil
	}
	if directory := filepath.Dir(l.DropIns[0]); gone(directory) {
		return &Problem{File: directory, Reason: fmt.Sprintf("does not exist any more, and %s came from it: restore it; to remove the drop-ins, leave the directory empty", words.Count(len(l.DropIns), "drop-in"))}
	}
	return nil
}

// Files returns the files that were read, in the order in which they were merged.
func (l Loaded) Files() []string {
	if l.Path == "" {
		return l.DropIns
	}
	return append([]string{l.Path}, l.DropIns...)
}

// Name returns the files of the configuration in words, such as "/etc/greetd/greetd.yaml and 2 drop-ins".
func (l Loaded) Name() string {
	switch n := len(l.DropIns); {
	case n == 0 && l.Path == "":
		return "the default configuration"
	case n == 0:
		return l.Path
	case l.Path == "":
		return words.Count(n, "drop-in") + " in " + filepath.Dir(l.DropIns[0])
	default:
		return l.Path + " and " + words.Count(n, "drop-in")
	}
}

// A value is what the files set for a key.
type value struct {
	at     origin
	text   string            // if it is neither a section nor a list
	fields map[string]*value // of a section; else nil
	list   []*value          // of a list; else nil
	name   string            // of a listener
	wrong  bool              // it has a problem, so that only its origin counts
}

// merge merges the section over into the section v. A value or a list replaces the one of v, and sections are
// merged by key.
func (v *value) merge(over *value) {
	for name, o := range over.fields {
		if before := v.fields[name]; before != nil && (o.wrong || before.fields != nil) {
			before.at = o.at
			before.merge(o)
			continue
		}
		v.fields[name] = o
	}
}

// plain returns v, which has this key, for viper: a text, or nested maps and lists. It returns nil if v is wrong. It
// adds the origins of v and of everything below.
func (v *value) plain(key string, origins origins) any {
	origins[key] = v.at
	switch {
	case v.wrong:
		return nil
	case v.fields != nil:
		section := make(map[string]any)
		for name, child := range v.fields {
			if plain := child.plain(join(key, name), origins); plain != nil {
				section[name] = plain
			}
		}
		return section
	case v.list != nil:
		var list []any // nil if it has no elements, and so is the list of the Config
		for i, element := range v.list {
			if plain := element.plain(fmt.Sprintf("%s[%d]", key, i), origins); plain != nil {
				list = append(list, plain)
			}
		}
		return list
	}
	return v.text
}

// mergeListeners makes own, the listeners of one file, the list of all listeners up to now. known are those of the
// files before; nil if there are none. Listeners are merged by name. The origin of a listener and of its name is the first
// file that has it.
func (r *fileReader) mergeListeners(known, own *value) {
	before := cmp.Or(known, &value{}).list
	all := append([]*value{}, before...) // two listeners with the same name in one file are not merged: that is a problem
	merged := make(map[int]string)       // the key in this file for each element of before that it changes
	for i, listener := range own.list {
		key := fmt.Sprintf("listeners[%d]", i)
		at := slices.IndexFunc(before, func(b *value) bool { return listener.name != "" && b.name == listener.name })
		if first, again := merged[at]; again {
			r.problems.add(listener.at, key+".name", "%s is the name of %s too: give each its own", words.Quote(listener.name), first)
		}
		if at >= 0 {
			merged[at] = key
			delete(listener.fields, "name")
			before[at].merge(listener)
			continue
		}
		if r.dropIn && listener.name != "" && listener.fields["address"] == nil {
			r.problems.add(listener.at, key+".address", "is missing, and no file before has the listener %s: give an address such as \":10000\"", listener.name)
		}
		all = append(all, listener)
	}
	if own.list = all; len(all) > mostSections {
		r.problems.add(own.at, "listeners", "must have from 1 to %d elements, not %d with those of the files before", mostSections, len(all))
	}
}
