package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A SIGHUP during the start ends nothing. The start is held where it reads the
// certificates of a collector, and it ends at a configuration that is not there.
func TestAgentOutlivesSIGHUPDuringItsStart(t *testing.T) {
	dir := t.TempDir()
	certificates := filepath.Join(dir, "certificates")
	if err := syscall.Mkfifo(certificates, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	agent := exec.Command(lanyardProgram(t), "agent", "--config", filepath.Join(dir, "missing.yaml"), "--state-dir", dir)
	agent.Stderr = &log
	agent.Env = append(os.Environ(), "OTEL_SDK_DISABLED=", "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"OTEL_EXPORTER_OTLP_ENDPOINT=https://127.0.0.1:1", "OTEL_EXPORTER_OTLP_CERTIFICATE="+certificates)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = agent.Wait() // how it ended is in its state
	}()
	defer func() {
		_ = agent.Process.Kill() // it may have ended
		<-ended
	}()
	reader := awaitReader(t, certificates, ended)
	if reader == nil {
		t.Fatalf("the agent read no certificates: %v\n%s", agent.ProcessState, log.String())
	}
	if err := agent.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for ; reader != nil; reader = awaitReader(t, certificates, ended) { // who reads them again gets nothing either
		if err := reader.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if code := agent.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(log.String(), "missing.yaml") {
		t.Errorf("%v, log:\n%s", agent.ProcessState, log.String())
	}
}

// awaitReader waits until somebody reads the FIFO and returns the end to write to, or nil
// once ended is closed.
func awaitReader(t *testing.T, fifo string, ended <-chan struct{}) *os.File {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); ; {
		end, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			return end
		}
		if !errors.Is(err, syscall.ENXIO) {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody reads, and the agent goes on")
		}
		select {
		case <-ended:
			return nil
		case <-time.After(time.Millisecond):
		}
	}
}
