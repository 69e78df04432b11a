//go:build linux

package clients

import (
	"fmt"
	"net/http"
	"strings"
)

// gitPath is the repository that git asks for.
const gitPath = "/x.git"

// Answer serves every client: the marker as text, and a repository for git with a
// branch named after it (the "dumb" protocol). A client that got its answer has
// printed the marker.
func Answer(marker string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == gitPath+"/info/refs":
			fmt.Fprintf(w, "%s\trefs/heads/%s\n", strings.Repeat("1", 40), marker)
		case r.URL.Path == gitPath+"/HEAD":
			fmt.Fprintf(w, "ref: refs/heads/%s\n", marker)
		default:
			fmt.Fprintln(w, marker)
		}
	})
}
