// Package trustedpath opens files and folders that nobody but root and this
// process's own user can change, or put others in the place of: the file, each
// folder on the way to it, and each link that the way leads through.
//
// It walks from / on, by descriptors and without following a link unseen, and
// judges what it has opened. What it has found good stays good against other
// users, since nothing that they may do changes it: so a path whose folder was
// found good may be used by name afterwards. Root, and the user itself, can do
// what they like.
//
// A folder of root's on a read-only mount counts as a sticky one, whatever its mode:
// through that mount nobody changes it. That is how Kubernetes mounts a ConfigMap or a
// Secret, with mode 0777. It says nothing of other mounts of the same volume: where
// others may write it elsewhere, in a container of the same pod say, they can delete,
// rename and link files there. Still each file and link counts by its own owner: theirs
// are refused, and what is in root's does not change.
//
// It must not know what a file is for. Its errors say which command mends it.
package trustedpath
