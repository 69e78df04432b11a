//go:build linux

package attribution

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A name that is somebody else on the host than in our container is told.
func TestAccountsThatDiffer(t *testing.T) {
	proc := t.TempDir()
	etc := filepath.Join(proc, "1/root/etc")
	if err := os.MkdirAll(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{
		"passwd": "# users\nroot:x:0:0::/:/bin/sh\nnobody:x:4711:4711::/:/bin/false\nhostonly:x:7:7::/:/bin/false\n",
		"group":  "root:x:0:\nnogroup:x:4712:a,b\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	host := ReadAccountsElsewhere(proc)
	for _, name := range []string{"root", "hostonly", "65534"} {
		if err := host.CheckUser(name); err != nil {
			t.Errorf("user %s: %v", name, err)
		}
	}
	if err := host.CheckUser("nobody"); err == nil || !strings.Contains(err.Error(), "65534 in the agent's container and 4711 on the host") {
		t.Errorf("user nobody: %v", err)
	}
	if err := host.CheckGroup("nogroup"); err == nil || !strings.Contains(err.Error(), "4712 on the host") {
		t.Errorf("group nogroup: %v", err)
	}
	for _, none := range []AccountsElsewhere{ReadAccountsElsewhere(t.TempDir()), ReadAccountsElsewhere("/proc")} {
		if err := none.CheckUser("nobody"); err != nil {
			t.Errorf("where nothing else can be read: %v", err)
		}
	}
}
