// Package serverurl reads the settings that say where a server is: its URL, and the
// CAs that its certificate must chain to. What comes from there instead of an answer it
// makes fit for a log.
//
// It must not know what is asked there, or by whom: who asks says what plain HTTP
// would give away.
package serverurl
