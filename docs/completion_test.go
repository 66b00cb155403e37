package docs_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"greetd.example/internal/test/debian"
)

// shells complete a line as somebody who presses Tab sees it. $1 is the program, $2 the
// line.
var shells = []struct{ name, pkg, script string }{
	{"bash", "bash", `
		source /usr/share/bash-completion/bash_completion
		source <("$1" completion bash)
		COMP_LINE=$2 COMP_POINT=${#2} COMP_TYPE=9 COMP_KEY=9
		read -ra COMP_WORDS <<<"$2"
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		"__start_$1"
		echo "${COMP_WORDS[*]:0:COMP_CWORD} ${COMPREPLY[0]}"`},
	{"fish", "fish", `
		$argv[1] completion fish | source
		set words (string split " " -- $argv[2])
		echo $words[1..-2] (complete --do-complete $argv[2] | string split --fields 1 (printf "\t"))[1]`},
	// Only a terminal makes zsh complete: type the line and Tab, put echo before it, and
	// press Enter.
	{"zsh", "zsh", `
		zmodload zsh/zpty
		zpty shell zsh -f -i
		zpty -w shell "PS1= PS2= RPS1=; unset zle_bracketed_paste; bindkey -e; autoload -U compinit; compinit -u -D; source <($1 completion zsh); echo be''gin"
		zpty -r shell said '*begin*'
		zpty -w -n shell "$2"$'\t'$'\x01''echo end: '$'\n'
		zpty -r shell said $'*\nend: *\n*'
		print -r -- "${${said##*$'\n'end: }%%$'\r'*}"
		zpty -d shell`},
}

// TestCompletions presses Tab in each shell.
func TestCompletions(t *testing.T) {
	debian.Program(t, "fish", "fish")
	debian.Program(t, "zsh", "zsh")
	if exec.CommandContext(t.Context(), "test", "-e", "/usr/share/bash-completion/bash_completion").Run() != nil {
		debian.Program(t, "dh_bash-completion", "bash-completion")
	}
	bin := filepath.Join(desk(t), "bin")
	for _, shell := range shells {
		for line, want := range map[string]string{
			"greetd log-l":               "greetd log-level",
			"greetd log-level d":         "greetd log-level debug",
			"greetd status --js":         "greetd status --json",
			"greetd completion fi":       "greetd completion fish",
			"greetprobe --starttls sm":   "greetprobe --starttls smtp",
			"greetprobe localhost ss":    "greetprobe localhost ssh",
			"greetprobe load --arr":      "greetprobe load --arrivals",
			"greetprobe check -M wa":     "greetprobe check -M warn",
			"greetprobe ping --output j": "greetprobe ping --output json",
		} {
			t.Run(shell.name+" "+line, func(t *testing.T) {
				program, _, _ := strings.Cut(line, " ")
				args := []string{"-c", shell.script, shell.name, program, line}
				if shell.name == "fish" { // which has no $0
					args = []string{"-c", shell.script, program, line}
				}
				cmd := exec.CommandContext(t.Context(), shell.name, args...)
				cmd.Env = append(cmd.Environ(), "PATH="+bin+":/usr/bin:/bin", "HOME="+t.TempDir(), "TERM=dumb")
				out, err := cmd.Output() // bash complains that nobody pressed Tab
				if got := strings.TrimSpace(string(out)); err != nil || got != want {
					t.Errorf("completed to %q, want %q (%v)", got, want, err)
				}
			})
		}
	}
}
