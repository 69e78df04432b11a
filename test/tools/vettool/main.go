// Command vettool holds the analyzers that go vet runs for make lint, beside its
// own: values and writes that nobody reads, nil dereferences, misused wait groups.
//
// It must not know the product; go vet gives it one package at a time, and keeps
// what it found in the build cache.
package main

import (
	"github.com/gordonklaus/ineffassign/pkg/ineffassign"
	"golang.org/x/tools/go/analysis/passes/nilness"
	"golang.org/x/tools/go/analysis/passes/unusedwrite"
	"golang.org/x/tools/go/analysis/passes/waitgroup"
	"golang.org/x/tools/go/analysis/unitchecker"
)

func main() {
	unitchecker.Main(
		ineffassign.Analyzer,
		nilness.Analyzer,
		unusedwrite.Analyzer,
		waitgroup.Analyzer,
	)
}
