// Package logbudget bounds how many log lines others can cause, without letting
// one of them silence a line about another.
//
// It must not know what is logged, or how a source was found out.
package logbudget
