// Package folderlock lets one process at a time use a folder.
//
// It must not know what is in the folder.
package folderlock
