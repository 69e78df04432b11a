package injector

import "github.com/lanyardhq/lanyard/internal/workload"

// PathInRule reports whether a rule's paths hold this path of a URL, without query, as
// the injector decides it.
func PathInRule(paths []string, path string) bool {
	return outsidePaths(paths, pathOfURL([]byte(path))) == ""
}

// pathOfURL returns what stands for the path of an absolute URL, RFC 9112 §3.2.2.
func pathOfURL(path []byte) []byte {
	if len(path) == 0 {
		return []byte("/")
	}
	return path
}

// outsidePaths says why a rule's paths do not hold this one, or "".
func outsidePaths(paths []string, path []byte) workload.Anonymous {
	switch {
	case len(paths) == 0:
		return ""
	case !workload.IsSafePath(path):
		return workload.AnonymousUnsafePath
	case !inPaths(paths, path):
		return workload.AnonymousPath
	}
	return ""
}
