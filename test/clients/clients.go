//go:build linux

package clients

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Client is a program that makes one HTTP request.
type Client struct {
	Name     string
	Packages []string // Debian's packages that bring it
	// Check is a command that succeeds where the client is installed.
	Check []string
	// Command makes a request to a base URL (no path) that Answer serves, prints
	// the answer and fails where the request failed.
	Command func(base string) []string
	// Connects is the program that opens the connection, where that is not the
	// first word of Command.
	Connects func() (string, error)
}

// All returns every client. folder is where Install put what had to be built.
func All(folder string) []Client {
	plain := func(command ...string) func(string) []string {
		return func(base string) []string { return append(command[:len(command):len(command)], base+"/") }
	}
	script := func(format string, interpreter ...string) func(string) []string {
		return func(base string) []string {
			return append(interpreter[:len(interpreter):len(interpreter)], fmt.Sprintf(format, base+"/"))
		}
	}
	return []Client{
		{
			Name: "curl", Packages: []string{"curl"}, Check: []string{"curl", "--version"},
			Command: plain("curl", "--silent", "--show-error", "--fail"),
		},
		{
			Name: "wget", Packages: []string{"wget"}, Check: []string{"wget", "--version"},
			Command: plain("wget", "--quiet", "--tries=1", "--output-document=-"),
		},
		{
			Name: "python-urllib", Packages: []string{"python3"}, Check: []string{python, "--version"},
			Command: script("import urllib.request as u; print(u.urlopen('%s', timeout=20).read())", python, "-c"),
		},
		{
			Name: "python-requests", Packages: []string{"python3", "python3-requests"}, Check: []string{python, "-c", "import requests"},
			Command: script("import requests; r = requests.get('%s', timeout=20); r.raise_for_status(); print(r.text)", python, "-c"),
		},
		{
			Name: "node-fetch", Packages: []string{"nodejs"}, Check: []string{"node", "-e", "fetch"},
			Command: script("fetch('%s').then(r => r.ok ? r.text() : Promise.reject(r.status)).then(console.log)", "node", "-e"),
		},
		{
			Name: "git", Packages: []string{"git"}, Check: []string{"git", "--version"},
			Command:  func(base string) []string { return []string{"git", "ls-remote", base + gitPath} },
			Connects: gitTransport,
		},
		{
			Name: "ruby", Packages: []string{"ruby"}, Check: []string{"ruby", "-rnet/http", "-e", ""},
			Command: script("r = Net::HTTP.get_response(URI('%s')); r.value; puts r.body", "ruby", "-rnet/http", "-e"),
		},
		{
			Name: "php", Packages: []string{"php-cli"}, Check: []string{"php", "--version"},
			Command: script("$a = file_get_contents('%s'); if ($a === false) exit(1); echo $a;", "php", "-r"),
		},
		{
			Name: "go", Check: []string{filepath.Join(folder, goClient), "-version"},
			Command: plain(filepath.Join(folder, goClient)),
		},
	}
}

// python is Debian's own interpreter, whatever else the machine has in PATH: the
// packages belong to it.
const python = "/usr/bin/python3"

// goClient is the name of the client that is built here.
const goClient = "lanyard-test-goclient"

// Executable returns the file that the kernel says is running when the client
// connects.
func (c Client) Executable(t testing.TB) string {
	t.Helper()
	path, err := c.connects()
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		t.Fatalf("find executable of %s: %v", c.Name, err)
	}
	return path
}

func (c Client) connects() (string, error) {
	if c.Connects != nil {
		return c.Connects()
	}
	return exec.LookPath(c.Command("")[0])
}

// gitTransport is the helper program that git starts for http URLs.
func gitTransport() (string, error) {
	output, err := exec.Command("git", "--exec-path").Output()
	return filepath.Join(strings.TrimSpace(string(output)), "git-remote-http"), err
}

// Environment is what every client runs with: nothing of the machine's own set-up,
// so that no proxy, no configuration file and no stored credential takes part.
func Environment(home string) []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "LC_ALL=C.UTF-8",
		"GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_ASKPASS=/bin/false",
	}
}
