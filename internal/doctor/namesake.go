package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// nameCollision is about Debian's greetd, which is a login manager.
func nameCollision(f *Facts) []Finding {
	var signs []string
	switch f.Namesake.Package {
	case "", "not-installed", "config-files":
	default:
		signs = append(signs, "its package greetd is "+f.Namesake.Package)
	}
	for _, path := range f.Namesake.Programs {
		signs = append(signs, path+" is another program")
	}
	if slices.Contains(f.Unit.words("Names"), "display-manager.service") {
		signs = append(signs, f.Unit.Name+" is also display-manager.service")
	}
	if len(signs) > 0 {
		return []Finding{problem("keep one of the two: apt-get purge greetd, or make uninstall in greetd's sources; then rm -f /etc/systemd/system/display-manager.service if it points to greetd.service, and systemctl daemon-reload",
			"the login manager of the same name is here: %s", strings.Join(signs, "; "))}
	}
	if left := f.Namesake.leftovers(); left != "" {
		return []Finding{warning("apt-get purge greetd", "the login manager of the same name was here, and has left %s", left)}
	}
	return ok("no login manager of the same name")
}

func (n Namesake) leftovers() string {
	var left []string
	if n.PAM {
		left = append(left, "/etc/pam.d/greetd")
	}
	if n.Package == "config-files" {
		left = append(left, fmt.Sprintf("its configuration (%s)", n.Package))
	}
	return strings.Join(left, " and ")
}
