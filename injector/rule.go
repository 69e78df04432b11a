package injector

// PathInRule reports whether a rule's paths hold this path of a request, without query,
// as the injector decides it.
func PathInRule(paths []string, path string) bool { return pathAllowed(paths, []byte(path)) }
