//go:build linux

package kernel

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/kernel/plan"
)

// consoleTail is how many bytes of the kernel's messages a failure shows.
const consoleTail = 4096

// kernelArguments: messages go to the first serial port, and a panic ends the
// emulator, which is told not to reboot.
const kernelArguments = "console=ttyS0 panic=-1 loglevel=4"

// processor is all that the emulator has, but for what tells the kernel that string
// instructions are the fastest way to copy and clear memory (ERMS, FSRM): emulated, they
// move one byte at a time, and the verifier copies its state all the time.
const processor = "max,-erms,-fsrm"

// transcript is what the guest reported.
type transcript struct {
	output map[int][]string // of each program, by lines
	status map[int]int      // exit status of those that ended
	done   bool
}

// boot runs the machine to its end and returns what it reported. It fails the test
// with the end of the kernel's messages when the guest did not finish its plan.
func boot(ctx context.Context, t *testing.T, system *System, image, console string) *transcript {
	t.Helper()
	cmd, err := system.command(ctx, image, console)
	if err != nil {
		t.Fatal(err)
	}
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatalf("start emulator: %v", err)
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		writer.Close()
		ended <- err
	}()
	report := readTranscript(reader, func(line string) { t.Log(line) })
	if err := <-ended; err != nil || !report.done {
		t.Errorf("the guest did not finish: emulator: %v, limit: %v; last kernel messages:\n%s",
			err, ctx.Err(), tail(console))
	}
	return report
}

// command is the emulator without hardware virtualisation, which test machines
// often lack.
func (s *System) command(ctx context.Context, image, console string) (*exec.Cmd, error) {
	emulator, err := s.emulator()
	if err != nil {
		return nil, err
	}
	arguments := []string{
		"-accel", "tcg", "-cpu", processor, "-smp", "2", "-m", strconv.Itoa(memory),
		"-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none",
		"-serial", "file:" + console, "-serial", "stdio",
		"-kernel", s.Kernel, "-initrd", image, "-append", kernelArguments,
	}
	cmd := exec.CommandContext(ctx, emulator)
	if strings.HasPrefix(emulator, s.Root) {
		share := filepath.Join(s.Root, "usr", "share")
		arguments = append(arguments, "-L", filepath.Join(share, "qemu"), "-L", filepath.Join(share, "seabios"))
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+s.libraries())
	}
	cmd.Args = append(cmd.Args, arguments...)
	return cmd, nil
}

// libraries lists the folders of the unpacked shared libraries.
func (s *System) libraries() string {
	return filepath.Join(s.Root, "usr/lib/x86_64-linux-gnu") + ":" + filepath.Join(s.Root, "lib/x86_64-linux-gnu")
}

// readTranscript sorts the guest's report by program, and passes on each line.
func readTranscript(report io.Reader, log func(string)) *transcript {
	result := &transcript{output: map[int][]string{}, status: map[int]int{}}
	current := -1
	lines := bufio.NewReader(report)
	for {
		line, err := lines.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if marked, ok := strings.CutPrefix(line, plan.Marker+" "); ok {
			current = result.mark(marked, current)
		} else if current >= 0 {
			result.output[current] = append(result.output[current], line)
		}
		if shown := strings.TrimLeft(line, "\x16"); shown != "" && !strings.HasPrefix(shown, "=== NAME") {
			log(shown)
		}
		if err != nil {
			return result
		}
	}
}

// mark notes a marker and returns which program runs after it, or -1.
func (r *transcript) mark(line string, current int) int {
	var number, status int
	if _, err := fmt.Sscanf(line, "begin %d", &number); err == nil {
		return number
	}
	if _, err := fmt.Sscanf(line, "end %d %d", &number, &status); err == nil {
		r.status[number] = status
		return -1
	}
	r.done = r.done || line == "done"
	return current
}

// tail returns the end of a file for an error message.
func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-consoleTail):])
}
