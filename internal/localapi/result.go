package localapi

// Result is what became of a call, in one word.
type Result string

// The results of calls. Dashboards hold on to them: renaming one is a breaking change.
const (
	ResultAnswered      Result = "answered"
	ResultWrongKey      Result = "wrong_key"
	ResultNoKey         Result = "no_key"         // neither a key nor a caller that is known
	ResultNoKeyFile     Result = "no_key_file"    // a key, but the file with ours cannot be used
	ResultNotRecognised Result = "not_recognised" // the process could not be attributed
	ResultNoIdentity    Result = "no_identity"    // it was, and none matches; or the key stands for none
	ResultNotAllowed    Result = "not_allowed"    // local_api: false, or two identities match
	ResultForeign       Result = "foreign"        // a web page, or a proxy
	ResultNoSuchCall    Result = "no_such_call"   // there is no call of that name
	ResultBadRequest    Result = "bad_request"    // the call's parameters are wrong
	ResultRefused       Result = "refused"        // the authority refuses, or has nothing of that id
	ResultUnavailable   Result = "unavailable"    // the authority does not answer
	ResultBusy          Result = "busy"           // the caller has too many calls under way
)
