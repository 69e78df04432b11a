// Package strictjson reads JSON objects where ambiguity would be dangerous: a
// member may occur once, member names are compared exactly, nothing follows the
// object, and an unknown member is an error where the caller names a struct.
// (encoding/json takes the last of two members and ignores their case.)
//
// It must not know what the objects mean, and puts no value into an error.
package strictjson
