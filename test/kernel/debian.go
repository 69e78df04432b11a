//go:build linux

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// cacheVariable names the folder for unpacked packages; without it they go below
// the user's cache folder.
const cacheVariable = "LANYARD_TEST_CACHE"

const (
	kernelPackage   = "linux-image-cloud-amd64"
	emulatorPackage = "qemu-system-x86"
	toolsPackage    = "busybox-static"
	emulatorProgram = "qemu-system-x86_64"
)

// System is a kernel, an emulator and a set of small tools, unpacked.
type System struct {
	Root    string // folder that holds the unpacked packages
	Kernel  string // image to boot
	Modules string // folder of the kernel's modules
	BusyBox string // statically linked
}

// Fetch downloads and unpacks Debian's packages with apt, or finds what an earlier
// call unpacked. log gets a line for each step that takes time.
func Fetch(ctx context.Context, log func(string)) (*System, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("fetch Debian's kernel: this is %s, the emulated machine is amd64 with tests built for it", runtime.GOARCH)
	}
	folder, err := cacheFolder()
	if err != nil {
		return nil, err
	}
	unlock, err := lock(folder)
	if err != nil {
		return nil, err
	}
	defer unlock()
	root := filepath.Join(folder, "root")
	if system, err := find(root); err == nil {
		return system, nil
	}
	if err := unpackAll(ctx, folder, root, log); err != nil {
		return nil, err
	}
	return find(root)
}

func cacheFolder() (string, error) {
	folder := os.Getenv(cacheVariable)
	if folder == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			base = os.TempDir()
		}
		folder = filepath.Join(base, "lanyard-test")
	}
	folder = filepath.Join(folder, "debian61")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("make cache folder: %w", err)
	}
	return folder, nil
}

// lock keeps two test runs from unpacking into one folder at once.
func lock(folder string) (unlock func(), err error) {
	file, err := os.Create(filepath.Join(folder, "lock"))
	if err != nil {
		return nil, fmt.Errorf("lock cache folder: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock cache folder: %w", err)
	}
	return func() { file.Close() }, nil
}

// find looks for a complete set of unpacked packages.
func find(root string) (*System, error) {
	kernels, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-6.1.*"))
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("find kernel below %s: %d images of a 6.1 kernel, want 1", root, len(kernels))
	}
	version := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	system := &System{
		Root: root, Kernel: kernels[0],
		Modules: filepath.Join(root, "lib", "modules", version, "kernel"),
		BusyBox: filepath.Join(root, "bin", "busybox"),
	}
	for _, path := range []string{system.Modules, system.BusyBox} {
		if _, err := os.Stat(path); err != nil {
			return nil, err
		}
	}
	if _, err := system.emulator(); err != nil {
		return nil, err
	}
	return system, nil
}

// emulator returns the path of the emulator: the unpacked one, or the one that is
// installed, for which nothing was unpacked.
func (s *System) emulator() (string, error) {
	unpacked := filepath.Join(s.Root, "usr", "bin", emulatorProgram)
	if _, err := os.Stat(unpacked); err == nil {
		return unpacked, nil
	}
	return exec.LookPath(emulatorProgram)
}

// unpackAll downloads into a folder of its own and renames it into place when it is
// complete, so that an interrupted download is never taken for a system.
func unpackAll(ctx context.Context, folder, root string, log func(string)) error {
	names, err := packages(ctx, log)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(folder, "unpack-")
	if err != nil {
		return fmt.Errorf("make folder for packages: %w", err)
	}
	defer os.RemoveAll(work)
	log(fmt.Sprintf("apt-get download %s (%d packages, into %s)", kernelPackage, len(names), folder))
	if err := download(ctx, work, names, log); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(archives) < len(names) {
		return fmt.Errorf("download Debian packages: got %d of %d", len(archives), len(names))
	}
	fresh := filepath.Join(work, "root")
	for _, archive := range archives {
		if _, err := run(ctx, work, "dpkg", "-x", archive, fresh); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(root); err != nil {
		return fmt.Errorf("remove incomplete cache: %w", err)
	}
	return os.Rename(fresh, root)
}

// packages names what is to be downloaded: the kernel that the meta package stands
// for now, the tools, and the emulator with those dependencies that are not
// installed here.
func packages(ctx context.Context, log func(string)) ([]string, error) {
	kernel, err := kernelImage(ctx)
	if err != nil {
		log("apt-get update (the package lists are missing)")
		if _, err := run(ctx, "", "apt-get", "update", "-qq"); err != nil {
			return nil, err
		}
		if kernel, err = kernelImage(ctx); err != nil {
			return nil, err
		}
	}
	names := []string{kernel, toolsPackage}
	if _, err := exec.LookPath(emulatorProgram); err == nil {
		return names, nil
	}
	plan, err := run(ctx, "", "apt-get", "install", "--simulate", "--no-install-recommends", emulatorPackage)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(plan) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Inst" {
			names = append(names, fields[1])
		}
	}
	return names, nil
}

func kernelImage(ctx context.Context) (string, error) {
	output, err := run(ctx, "", "apt-cache", "depends", kernelPackage)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(output) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok {
			return name, nil
		}
	}
	return "", fmt.Errorf("apt-cache depends %s names no kernel", kernelPackage)
}

// download fetches the packages; lists that are out of date name packages that
// are no longer served, so it tries once more after an update.
func download(ctx context.Context, folder string, names []string, log func(string)) error {
	command := append([]string{"apt-get", "download", "-qq"}, names...)
	_, err := run(ctx, folder, command...)
	if err == nil {
		return nil
	}
	log("apt-get update (the package lists are out of date)")
	if _, err := run(ctx, "", "apt-get", "update", "-qq"); err != nil {
		return err
	}
	_, err = run(ctx, folder, command...)
	return err
}

// run runs a command and returns its standard output; its error carries standard
// error.
func run(ctx context.Context, folder string, command ...string) (string, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("run %s: %w; the emulated kernel comes from Debian's packages, which need apt and dpkg", command[0], err)
	}
	if err != nil {
		return "", fmt.Errorf("run %s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
