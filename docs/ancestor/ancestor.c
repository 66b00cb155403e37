/*
 * The greeting daemon of sockets tutorials, as it was written for decades, faults
 * included: docs/from-sockets-to-systemd.md measures it beside greetd. Not for use.
 *
 *     ancestor PORT        greet on PORT, in the foreground
 *     ancestor -d PORT     as a daemon
 *     ancestor -r PORT     in the foreground, and report no child's end: without its
 *                          worst fault, to see the others
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

static int report = 1;

static void fail(const char *deed)
{
	syslog(LOG_ERR, "%s: %m", deed);
	fprintf(stderr, "ancestor: %s: %s\n", deed, strerror(errno));
	exit(1);
}

/* Runs whenever a child ends, in the middle of whatever the parent is doing. */
static void reap(int sig)
{
	int status, before = errno;
	pid_t child;

	(void)sig;
	while ((child = waitpid(-1, &status, WNOHANG)) > 0)
		if (report)
			syslog(LOG_INFO, "child %d ended with %d", (int)child, WEXITSTATUS(status));
	errno = before;
}

/* A write may take less than all. */
static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

static void greet(int fd, const struct sockaddr_in *client)
{
	char text[64];

	snprintf(text, sizeof text, "Hello there, %s!\n", inet_ntoa(client->sin_addr));
	if (write_all(fd, text, strlen(text)) < 0)
		syslog(LOG_WARNING, "write: %m");
	close(fd);
}

static void daemonize(void)
{
	int null;

	if (fork() > 0)
		exit(0);
	setsid();
	if (fork() > 0)
		exit(0);
	umask(0);
	if (chdir("/") < 0 || (null = open("/dev/null", O_RDWR)) < 0)
		fail("daemonize");
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
}

int main(int argc, char **argv)
{
	struct sockaddr_in here = {0};
	struct sigaction act = {0};
	int listener, on = 1, option, background = 0;

	while ((option = getopt(argc, argv, "dr")) != -1)
		switch (option) {
		case 'd': background = 1; break;
		case 'r': report = 0; break;
		default: return 1;
		}
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: ancestor [-d] [-r] PORT\n");
		return 1;
	}
	openlog("ancestor", LOG_PID, LOG_DAEMON);

	if ((listener = socket(AF_INET, SOCK_STREAM, 0)) < 0)
		fail("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	here.sin_family = AF_INET;
	here.sin_addr.s_addr = htonl(INADDR_ANY);
	here.sin_port = htons((unsigned short)atoi(argv[optind]));
	if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0)
		fail("bind");
	if (listen(listener, 5) < 0)
		fail("listen");

	act.sa_handler = reap;
	sigaction(SIGCHLD, &act, NULL);
	if (background)
		daemonize();

	for (;;) {
		struct sockaddr_in client;
		socklen_t len = sizeof client;
		int fd = accept(listener, (struct sockaddr *)&client, &len);

		if (fd < 0) {
			if (errno == EINTR)
				continue;
			fail("accept");
		}
		syslog(LOG_INFO, "connection from %s", inet_ntoa(client.sin_addr));
		switch (fork()) {
		case -1:
			syslog(LOG_ERR, "fork: %m");
			break;
		case 0:
			close(listener);
			greet(fd, &client);
			exit(0);
		}
		close(fd);
	}
}
