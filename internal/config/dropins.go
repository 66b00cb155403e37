package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
func dropIns(path string) ([]string, error) {
	directory := DropInDirectory(path)
	entries, err := os.ReadDir(directory) // sorted by name
	if errors.Is(err, fs.ErrNotExist) && !isLink(directory) {
		return nil, nil
	}
	if err != nil {
		return nil, &Problem{File: directory, Reason: unreadable(directory, err).Error()}
	}
	var paths []string
	var mistake error
	for _, entry := range entries {
		path := filepath.Join(directory, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), "."):
		case strings.HasSuffix(entry.Name(), ".yaml"):
			paths = append(paths, path)
		case slices.Contains([]string{".yaml", ".yml"}, strings.ToLower(filepath.Ext(path))) && mistake == nil:
			mistake = &Problem{File: path, Reason: "would not be read: a drop-in ends in .yaml; rename it, or move it out of the directory"}
		}
	}
	return paths, mistake
}

// isLink reports whether path is a symbolic link, also if its target does not exist.
func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
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

// A merger merges the files in order. A value or a list replaces the value of earlier files. Sections are
// merged by key, and listeners by name.
type merger struct {
	origins   origins
	problems  *problems
	listeners []any // elements are map[string]any, from all files up to now; nil if no file has set any
}

// merge merges the origins of the file of r into those of the files before. It replaces the listeners in
// values by those of all files up to now; viper merges all other values.
func (m *merger) merge(r *fileReader, values map[string]any) {
	place := make(map[string]string) // from the key of a listener in this file to its key in the merged list
	if own, ok := values["listeners"].([]any); ok {
		place = m.mergeListeners(r, own)
		values["listeners"] = m.listeners
	}
	placed := make(origins)
	for key, from := range r.origins {
		if element, rest, isElement := strings.Cut(key, "]"); isElement && place[element+"]"] != "" {
			key = place[element+"]"] + rest
			if _, known := m.origins[key]; known && (rest == "" || rest == ".name") {
				continue // the origin of the listener and of its name is the first file that has it
			}
		}
		placed[key] = from
		if key != "listeners" {
			m.forgetElements(key)
		}
	}
	maps.Copy(m.origins, placed)
}

// forgetElements removes the origins of the elements of a list that another file replaces.
func (m *merger) forgetElements(list string) {
	for i := 0; ; i++ {
		key := fmt.Sprintf("%s[%d]", list, i)
		if _, ok := m.origins[key]; !ok {
			return
		}
		delete(m.origins, key)
	}
}

// mergeListeners merges own, the listeners of one file, into m.listeners. It returns the key in
// m.listeners for the key of each element of own.
func (m *merger) mergeListeners(r *fileReader, own []any) (place map[string]string) {
	place = make(map[string]string)
	before := slices.Clone(m.listeners) // two listeners with the same name in one file are not merged: that is a problem
	merged := make(map[int]string)      // the key in this file for each element of before that it changes
	for i, element := range own {
		key := fmt.Sprintf("listeners[%d]", i)
		listener := element.(map[string]any)
		name, named := listener["name"]
		at := slices.IndexFunc(before, func(b any) bool { return named && b.(map[string]any)["name"] == name })
		if first, again := merged[at]; again {
			m.problems.add(r.origins[key], key+".name", "%s is the name of %s too: give each its own", words.Quote(name.(string)), first)
		}
		if at >= 0 {
			merged[at] = key
			mergeSection(before[at].(map[string]any), listener)
			place[key] = fmt.Sprintf("listeners[%d]", at)
			continue
		}
		if _, given := r.origins[key+".address"]; r.dropIn && named && !given {
			m.problems.add(r.origins[key], key+".address", "is missing, and no file before has the listener %s: give an address such as \":10000\"", name)
		}
		place[key] = fmt.Sprintf("listeners[%d]", len(m.listeners))
		m.listeners = append(m.listeners, listener)
	}
	if len(m.listeners) > mostSections {
		m.problems.add(r.origins["listeners"], "listeners", "must have from 1 to %d elements, not %d with those of the files before", mostSections, len(m.listeners))
	}
	return place
}

// mergeSection sets the values of over in section. Sections below are merged by key.
func mergeSection(section, over map[string]any) {
	for key, value := range over {
		below, isSection := section[key].(map[string]any)
		if deeper, ok := value.(map[string]any); ok && isSection {
			mergeSection(below, deeper)
			continue
		}
		section[key] = value
	}
}
