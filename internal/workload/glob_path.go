package workload

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// pathComponent is one component of a path pattern: a glob for one name, or **
// for any number of components, none among them.
type pathComponent struct {
	name  glob
	stars bool
}

// pathGlob is a compiled pattern for an absolute path. No wildcard but ** crosses
// a slash.
type pathGlob struct {
	components []pathComponent
	weight     int
}

// parsePathGlob compiles a pattern for an absolute, clean path. A ** stands alone
// between slashes; at the end it means everything below, at any depth.
func parsePathGlob(pattern string) (pathGlob, error) {
	var p pathGlob
	if err := cleanPattern(pattern); err != nil {
		return p, err
	}
	if pattern == "/" {
		return p, nil
	}
	names := strings.Split(pattern[1:], "/")
	stars := false
	for i, name := range names {
		if name == "**" {
			stars = true
			if i == len(names)-1 {
				p.components = append(p.components, pathComponent{name: glob{{kind: globStar}}})
			}
			p.components = append(p.components, pathComponent{stars: true})
			continue
		}
		if strings.Contains(name, "**") {
			return p, fmt.Errorf("** stands beside other characters in %q; it crosses slashes only as a whole component, as in /opt/**/java", name)
		}
		g, err := parseGlob(name)
		if err != nil {
			return p, err
		}
		p.weight += weightLiteral + g.singles() // the slash counts
		if name == "*" {
			p.weight += weightAny // a component is never empty, so this is ?*
		}
		stars = stars || g.hasStar()
		p.components = append(p.components, pathComponent{name: g})
	}
	if !stars {
		p.weight += weightNoStar
	}
	return p, nil
}

// cleanPattern refuses patterns for paths that the kernel never reports.
func cleanPattern(pattern string) error {
	switch {
	case !strings.HasPrefix(pattern, "/"):
		return errors.New("the path is relative; write it from / on")
	case pattern == "/":
		return nil
	case strings.HasSuffix(pattern, "/"):
		return errors.New("the path ends in a slash; leave it out, or write /** for everything below")
	}
	for name := range strings.SplitSeq(pattern[1:], "/") {
		if name == "" || name == "." || name == ".." {
			return errors.New("the kernel reports clean paths; leave out //, /./ and /../")
		}
	}
	return nil
}

// below returns the pattern that also matches everything below what p matches.
func (p pathGlob) below() pathGlob {
	p.components = append(p.components[:len(p.components):len(p.components)], pathComponent{stars: true})
	return p
}

// match reports whether an absolute path matches.
func (p pathGlob) match(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	rest := path // from a slash on, or empty
	if path == "/" {
		rest = ""
	}
	component := 0
	stars, starsRest := -1, ""
	for rest != "" {
		if component < len(p.components) {
			c := p.components[component]
			if c.stars {
				stars, starsRest = component, rest
				component++
				continue
			}
			if name, after := firstName(rest); c.name.match(name) {
				component++
				rest = after
				continue
			}
		}
		if stars < 0 {
			return false
		}
		_, starsRest = firstName(starsRest)
		component, rest = stars+1, starsRest
	}
	for component < len(p.components) && p.components[component].stars {
		component++
	}
	return component == len(p.components)
}

// firstName returns the name after a path's first slash, and the path from the
// next one on.
func firstName(path string) (name, rest string) {
	name = path[1:]
	if end := strings.IndexByte(name, '/'); end >= 0 {
		return name[:end], name[end:]
	}
	return name, ""
}

// literal returns the one path that the pattern stands for, if it is only one.
func (p pathGlob) literal() (string, bool) {
	if len(p.components) == 0 {
		return "/", true
	}
	var b strings.Builder
	for _, c := range p.components {
		name, ok := c.name.literal()
		if c.stars || !ok {
			return "", false
		}
		b.WriteString("/" + name)
	}
	return b.String(), true
}

// base returns the last component, if the pattern fixes it.
func (p pathGlob) base() (string, bool) {
	if len(p.components) == 0 {
		return "", false
	}
	last := p.components[len(p.components)-1]
	if last.stars {
		return "", false
	}
	return last.name.literal()
}

// hasLiteral reports whether any character of a name is fixed.
func (p pathGlob) hasLiteral() bool {
	return slices.ContainsFunc(p.components, func(c pathComponent) bool { return c.name.hasLiteral() })
}
