// Package systemd is a daemon's side of its service manager: sockets by name, from a
// socket unit or kept across restarts in the fd store; notifications; reload; drain; and
// a watchdog that needs a proof. [Start] is where to begin, or [Main]:
//
//	svc, err := systemd.Start(ctx)
//	defer svc.Close()
//	ln, err := svc.Listen("web", ":8080") // socket unit, else fd store, else own bind
//	svc.OnReload(func(ctx context.Context) error { return loadConfiguration() })
//	svc.Watchdog(func(ctx context.Context) error { return ask(ctx, ln.Addr()) })
//	err = svc.Run(&http.Server{Handler: handler}, ln) // READY=1, SIGHUP, SIGTERM, drain
//
// and in the unit: Type=notify, FileDescriptorStoreMax=16, WatchdogSec=20s. With that,
// no client is refused, not by a restart and not by a crash.
//
// Outside systemd, and on systems other than Linux, it binds by itself, signals work the
// same way, and all the rest does nothing. There is no package state, apart from the
// environment of the process: the variables LISTEN_* are cleared once they are read.
// Nothing in here panics or exits. Errors name the unit, the key and the remedy.
//
// Package systemdtest has a service manager for tests. What is promised here is from
// sd_listen_fds(3), sd_notify(3), sd_notify_barrier(3), sd_watchdog_enabled(3),
// sd_pid_notify_with_fds(3), systemd.service(5) and systemd.socket(5), of systemd 252 to 262.
package systemd
