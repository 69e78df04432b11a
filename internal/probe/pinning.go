//go:build linux

package probe

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// pinnable is what a pin keeps in the kernel when the agent is killed: a link or a map.
type pinnable interface {
	Pin(path string) error
	Unpin() error
}

// pin pins whatever is not pinned, and returns what that was. What cannot be pinned
// works all the same, as long as the agent lives.
func (s *hookSet) pin() (made []string, err error) {
	if err := s.pins.restore(); err != nil {
		return nil, err
	}
	links, err := pinMissing(s.pins.links(), s.attached)
	maps, mapsErr := pinMissing(s.pins.maps(), s.maps)
	if err := errors.Join(err, mapsErr); err != nil {
		return nil, err
	}
	return append(links, maps...), s.removeOthers()
}

func pinMissing[T pinnable](folder string, things map[string]T) (made []string, err error) {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(things)) {
		path := filepath.Join(folder, name)
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		thing := things[name]
		if err := errors.Join(thing.Unpin(), thing.Pin(path)); err != nil { // it forgets where it was first
			errs = append(errs, fmt.Errorf("pin %s: %w", name, err))
			continue
		}
		made = append(made, name)
	}
	return made, errors.Join(errs...)
}

// pinnedMaps returns those maps of generated objects that were pinned when they were
// loaded, by the name of the pin.
func pinnedMaps(objects ...any) map[string]*ebpf.Map {
	pinned := map[string]*ebpf.Map{}
	for _, o := range objects {
		fields := reflect.ValueOf(o).Elem()
		for i := range fields.NumField() {
			if m, ok := fields.Field(i).Interface().(*ebpf.Map); ok && m.IsPinned() {
				pinned[fields.Type().Field(i).Tag.Get("ebpf")] = m
			}
		}
	}
	return pinned
}

// removeOthers unpins the hooks' links that are not ours.
func (s *hookSet) removeOthers() error {
	dir := s.pins.links()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil // somebody removed all
	}
	if err != nil {
		return fmt.Errorf("remove old links: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if s.attached[e.Name()] != nil || !s.isOfAHook(e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("remove old link: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (s *hookSet) isOfAHook(pin string) bool {
	return slices.ContainsFunc(s.hooks, func(h hook) bool { return strings.HasPrefix(pin, h.name+"-") })
}
