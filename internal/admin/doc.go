// Package admin is the client of the authority's admin API, for the command line.
//
// It must not know how the authority decides or keeps anything, nor how its
// answers are shown.
package admin
