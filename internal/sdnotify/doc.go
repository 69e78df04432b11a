// Package sdnotify tells the service manager how a service is, by systemd's protocol
// (sd_notify(3)): datagrams of NAME=VALUE lines to the socket that NOTIFY_SOCKET names.
//
// It must not know what the service does: it is told.
package sdnotify
