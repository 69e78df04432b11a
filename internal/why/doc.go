// Package why follows a request that somebody asks about, from connect(2) to
// injection, and tells each step's answer: which one says no, and what to write.
//
// It must not know how an answer is come by: what it is asked about, the agent's state
// among it, is handed to it, so that the running agent and a configuration alone are
// explained alike.
package why
