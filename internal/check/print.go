package check

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// Printable quotes a text that would do something to a terminal: whoever runs a
// process chooses its path and its arguments.
func Printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) {
	for _, identity := range r.Identities {
		identity.print(w)
	}
	for _, tie := range r.Ties {
		fmt.Fprintf(w, "tie: pid %d %s %s matches %s equally well; make one of them more specific\n",
			tie.PID, Printable(tie.User), Printable(tie.shown()), strings.Join(tie.Identities, " and "))
	}
	fmt.Fprintf(w, "\nlooked at %s of this moment", count(r.Processes, "process", "processes"))
	if r.Hidden > 0 {
		fmt.Fprintf(w, "; the executables of %d are hidden: to see them takes root with CAP_SYS_PTRACE, and no security module that forbids it", r.Hidden)
	}
	fmt.Fprintln(w)
}

func (i IdentityReport) print(w io.Writer) {
	fmt.Fprintf(w, "\nidentity %s: %s\n", i.Name, count(len(i.Processes), "process", "processes"))
	for _, p := range i.Processes {
		fmt.Fprintf(w, "  pid %d  %s  %s%s\n", p.PID, Printable(p.User), Printable(p.shown()), p.unit())
	}
	for _, near := range i.Near {
		fmt.Fprintf(w, "  nearly: pid %d  %s  %s%s\n", near.PID, Printable(near.User), Printable(near.shown()), near.unit())
		for _, miss := range near.Misses {
			fmt.Fprintf(w, "    %s: wanted %s, has %s\n", miss.Kind, strings.Join(miss.Wanted, " or "), miss.shown())
		}
		if near.Hint != "" {
			fmt.Fprintf(w, "    %s\n", Printable(near.Hint))
		}
	}
	if i.NearMore > 0 {
		fmt.Fprintf(w, "  nearly: %d more\n", i.NearMore)
	}
}

func (m Miss) shown() string {
	if m.Had == "" {
		return "none that is known"
	}
	return Printable(m.Had)
}

func (p Process) shown() string {
	if p.Executable == "" {
		return "(" + p.Note + ")"
	}
	return p.Executable
}

func (p Process) unit() string {
	if p.SystemdUnit == "" {
		return ""
	}
	return "  " + Printable(p.SystemdUnit)
}

func count(n int, one, many string) string {
	switch n {
	case 0:
		return "no " + one
	case 1:
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
