// Package envsettings reads process settings out of environment variables, into
// structs with the tags of the library that it uses.
//
// It must not know what the settings are for, nor where the variables come from:
// who has flags puts them into the environment that it gives.
package envsettings
