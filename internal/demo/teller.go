//go:build linux

package demo

import (
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Escape sequences for a terminal.
const (
	styleTitle   = "\x1b[1;36m"
	styleCommand = "\x1b[1m"
	styleNote    = "\x1b[2m"
	styleEnd     = "\x1b[0m"
)

// teller writes the story.
type teller struct {
	out   io.Writer
	color bool
	steps int
}

// scene writes a heading without a number.
func (t *teller) scene(title string) {
	fmt.Fprintf(t.out, "\n%s\n", t.styled(styleTitle, title))
}

// step writes the next numbered heading.
func (t *teller) step(title string) {
	t.steps++
	t.scene(fmt.Sprintf("%d. %s", t.steps, title))
}

// command shows a command line as a reader would type it. Settings before it, such
// as A=b, get a line each.
func (t *teller) command(words ...string) {
	var line strings.Builder
	settings := true
	for i, word := range words {
		name := assignment.FindString(word)
		settings = settings && name != ""
		if !settings {
			name = ""
		}
		line.WriteString(name + quote(word[len(name):]))
		switch {
		case i == len(words)-1:
		case settings:
			line.WriteString(" \\\n     ")
		default:
			line.WriteString(" ")
		}
	}
	fmt.Fprintf(t.out, "   %s\n", t.styled(styleCommand, "$ "+line.String()))
}

// answer shows what came back, indented and without the blanks around it.
func (t *teller) answer(text string) {
	for line := range strings.Lines(strings.ReplaceAll(strings.TrimSpace(text), "\r", "")) {
		fmt.Fprintf(t.out, "     %s\n", strings.TrimRight(line, "\n"))
	}
}

// note says something beside the commands.
func (t *teller) note(format string, values ...any) {
	fmt.Fprintf(t.out, "   %s\n", t.styled(styleNote, fmt.Sprintf(format, values...)))
}

func (t *teller) styled(style, text string) string {
	if !t.color {
		return text
	}
	return style + text + styleEnd
}

// assignment is a word that sets a variable for the command after it.
var assignment = regexp.MustCompile(`^[A-Z_]+=`)

// plainWord is a word that a shell takes as it is, or the sign that sends a command
// to the background.
var plainWord = regexp.MustCompile(`^([A-Za-z0-9_@%+=:,./\[\]-]+|&)$`)

// quote makes a word safe to paste into a shell.
func quote(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
