// Package docs holds the documentation that the program itself can show.
//
// It must not know the program: what is written here is for people.
package docs
