package check

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// maxShebang bounds the first line of a script, as the kernel does.
const maxShebang = 256

// searchPath is where env looks for an interpreter: what services have as PATH.
// The administrator's own says nothing about that of the process.
var searchPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// program is what a configured path of an executable leads to on this host.
type program struct {
	path        string // as configured
	resolved    string // without links, or "" where it leads nowhere
	interpreter string // that runs it, without links, or ""
	script      bool
	problem     string // what is wrong and what to write instead, or ""
}

// isLink reports whether the kernel reports another path than the configured.
func (p program) isLink() bool { return p.resolved != "" && p.resolved != p.path }

// programs looks at every path that an identity names and that is no pattern.
func programs(identity *workload.Identity) []program {
	var found []program
	for _, path := range identity.Selector.Values(workload.KindExecutable) {
		if !workload.IsGlob(path) {
			found = append(found, lookAt(path))
		}
	}
	return found
}

// lookAt finds out what a path leads to.
func lookAt(path string) program {
	p := program{path: path}
	resolved, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.problem = "does not exist on this host; install the program, or correct the path"
		return p
	case err != nil:
		p.problem = "cannot be looked at: " + err.Error()
		return p
	}
	p.resolved = resolved
	info, err := os.Stat(resolved)
	switch {
	case err != nil:
		p.problem = "cannot be looked at: " + err.Error()
	case !info.Mode().IsRegular():
		p.problem = "is no file; name the program"
	case info.Mode().Perm()&0o111 == 0:
		p.problem = "is not executable, so nothing runs it"
	default:
		p.readShebang()
		p.explain()
	}
	return p
}

// explain says what the kernel will report in place of the path.
func (p *program) explain() {
	switch {
	case p.script && p.interpreter == "":
		p.problem = "is a script, and its interpreter is not found here: a script's exe is its interpreter; name that, and the script in cmdline"
	case p.script:
		p.problem = fmt.Sprintf("is a script, and a script's exe is its interpreter; write exe: %s and cmdline: \"* %s*\"", p.interpreter, p.path)
	case p.isLink():
		p.problem = fmt.Sprintf("is a link, and the kernel reports where it leads; write exe: %s", p.resolved)
	}
}

// readShebang finds the interpreter of a script.
func (p *program) readShebang() {
	f, err := os.Open(p.resolved)
	if err != nil {
		return // not readable by us; it can still be run
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, maxShebang)).ReadString('\n')
	rest, isScript := strings.CutPrefix(line, "#!")
	if (err != nil && !errors.Is(err, io.EOF)) || !isScript {
		return
	}
	p.script = true
	words := strings.Fields(rest)
	if len(words) == 0 {
		return
	}
	command := words[0]
	if filepath.Base(command) == "env" {
		command = search(envProgram(words[1:]))
	}
	if resolved, err := filepath.EvalSymlinks(command); err == nil && command != "" {
		p.interpreter = resolved
	}
}

// envProgram skips what env takes before the name of the program.
func envProgram(words []string) string {
	for _, word := range words {
		if !strings.HasPrefix(word, "-") && !strings.Contains(word, "=") {
			return word
		}
	}
	return ""
}

func search(name string) string {
	if name == "" || strings.Contains(name, "/") {
		return name
	}
	for _, dir := range searchPath {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// Programs says what is wrong with the executables that identities name, on this
// host and now.
func Programs(policy *registry.Policy) []string {
	var warnings []string
	for _, identity := range policy.Identities() {
		for _, p := range programs(identity) {
			if p.problem != "" {
				warnings = append(warnings, fmt.Sprintf("identity %s: exe %s %s", identity.Name, Printable(p.path), p.problem))
			}
		}
	}
	return warnings
}
