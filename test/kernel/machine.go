//go:build linux

package kernel

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/kernel/plan"
	"github.com/lanyardhq/lanyard/test/lab"
)

const (
	// fetchLimit bounds the download of about 45 MB of packages.
	fetchLimit = 5 * time.Minute
	// DefaultLimit bounds the run of a machine whose Limit is zero. Emulation is
	// some twenty times slower than the host.
	DefaultLimit = 25 * time.Minute
	// reportTime is left for the report of a machine that did not finish.
	reportTime = 20 * time.Second
	// memory of the guest, in MiB.
	memory = 1024
)

// Suite is a package's tests, or a part of them, to run in the guest.
type Suite struct {
	Package string // import path
	Run     string // pattern of -test.run; empty means all
	Skip    string // pattern of -test.skip
	Tags    string // build tags, separated by commas
}

// Machine is an emulated host that runs tests.
type Machine struct {
	Suites  []Suite
	Modules []string // kernel modules to load, without their dependencies
	Limit   time.Duration
}

// Run boots Debian 12's kernel, runs the suites in it and reports each of their
// tests as a sub-test of t. The console is logged as it comes.
func (m Machine) Run(t *testing.T) {
	t.Helper()
	lab.RequireRoot(t)
	fetching, cancel := context.WithTimeout(t.Context(), fetchLimit)
	defer cancel()
	system, err := Fetch(fetching, func(line string) { t.Log(line) })
	if err != nil {
		lab.Unavailable(t, err.Error())
	}
	folder := t.TempDir()
	image := filepath.Join(folder, "initramfs")
	if err := m.writeImage(t.Context(), system, folder, image); err != nil {
		t.Fatal(err)
	}
	running, cancel := context.WithTimeout(t.Context(), m.limit(t))
	defer cancel()
	transcript := boot(running, t, system, image, filepath.Join(folder, "console"))
	for i, suite := range m.Suites {
		t.Run(path.Base(suite.Package), func(t *testing.T) { reportSuite(t, suite, transcript, i) })
	}
}

// limit is how long the machine may run: in any case less than the test program,
// so that a machine that hangs is reported with its last messages.
func (m Machine) limit(t *testing.T) time.Duration {
	limit := m.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	if deadline, ok := t.Deadline(); ok {
		limit = min(limit, time.Until(deadline)-reportTime)
	}
	return limit
}

// writeImage builds the guest and the suites and packs them into an initramfs.
func (m Machine) writeImage(ctx context.Context, system *System, folder, image string) error {
	modules, err := moduleOrder(system.Modules, m.Modules)
	if err != nil {
		return err
	}
	file, err := os.Create(image)
	if err != nil {
		return err
	}
	defer file.Close()
	root := newArchive(file)
	for _, name := range []string{"proc", "sys", "dev", "tmp", "etc", "bin"} {
		root.addFolder(name)
	}
	root.addDevice("dev/console", 5, 1)
	root.addDevice("dev/null", 1, 3)
	root.addFile("bin/busybox", system.BusyBox)
	root.addContent("etc/passwd", []byte("root:x:0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n"))
	root.addContent("etc/group", []byte("root:x:0:\nnogroup:x:65534:\n"))
	var todo plan.Plan
	for _, module := range modules {
		name := "modules/" + filepath.Base(module)
		root.addFile(name, module)
		todo.Modules = append(todo.Modules, "/"+name)
	}
	init := filepath.Join(folder, "init")
	if err := goCommand(ctx, "build", "-o", init, "github.com/lanyardhq/lanyard/test/kernel/guest"); err != nil {
		return err
	}
	root.addFile("init", init)
	for i, suite := range m.Suites {
		program, err := suite.addTo(ctx, root, folder, i)
		if err != nil {
			return err
		}
		todo.Programs = append(todo.Programs, program)
	}
	content, err := json.Marshal(todo)
	if err != nil {
		return err
	}
	root.addContent(plan.Path[1:], content)
	return root.close()
}

// addTo builds the suite's test program and packs it with its testdata.
func (s Suite) addTo(ctx context.Context, root *archive, folder string, number int) (plan.Program, error) {
	binary := filepath.Join(folder, fmt.Sprintf("suite%d.test", number))
	if err := goCommand(ctx, "test", "-c", "-tags", s.Tags, "-o", binary, s.Package); err != nil {
		return plan.Program{}, err
	}
	source, err := run(ctx, "", "go", "list", "-tags", s.Tags, "-f", "{{.Dir}}", s.Package)
	if err != nil {
		return plan.Program{}, err
	}
	home := path.Join("suites", s.Package)
	root.addFile(path.Join(home, filepath.Base(binary)), binary)
	root.addTree(path.Join(home, "testdata"), filepath.Join(source[:len(source)-1], "testdata"))
	return plan.Program{Folder: "/" + home, Arguments: []string{
		"/" + path.Join(home, filepath.Base(binary)),
		"-test.v=test2json", "-test.count=1", "-test.run=" + s.Run, "-test.skip=" + s.Skip,
		"-test.timeout=" + DefaultLimit.String(),
	}}, nil
}

// goCommand builds a static program for the guest.
func goCommand(ctx context.Context, verb string, arguments ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{verb, "-trimpath", "-ldflags=-s -w"}, arguments...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s for the guest: %w: %s", verb, err, output)
	}
	return nil
}
