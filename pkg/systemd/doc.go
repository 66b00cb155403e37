// Package systemd connects a daemon to its service manager. It has sockets by name, from a
// socket unit or kept across restarts in the fd store; notifications; reload; drain; and a
// watchdog that checks that the service works. Begin with [Start] or [Main]:
//
//	svc, err := systemd.Start(ctx)
//	defer svc.Close()
//	ln, err := svc.Listen("web", ":8080") // socket unit, else fd store, else own bind
//	svc.OnReload(func(ctx context.Context) error { return loadConfiguration() })
//	svc.Watchdog(func(ctx context.Context) error { return ask(ctx, ln.Addr()) })
//	err = svc.Run(&http.Server{Handler: handler}, ln) // READY=1, SIGHUP, SIGTERM, drain
//
// The unit needs Type=notify, FileDescriptorStoreMax=16 and WatchdogSec=20s. Then neither a
// restart nor a crash refuses a client.
//
// Outside systemd, and on systems other than Linux, the package binds its own sockets, handles
// signals in the same way, and does nothing else. It has no state except the environment of the
// process: it clears the variables LISTEN_* after it has read them. No function panics or exits.
// Errors name the unit, the key and the remedy.
//
// Package systemdtest has a service manager for tests. The protocols are those of
// sd_listen_fds(3), sd_notify(3), sd_notify_barrier(3), sd_watchdog_enabled(3),
// sd_pid_notify_with_fds(3), systemd.service(5) and systemd.socket(5), of systemd 252 to 262.
package systemd
