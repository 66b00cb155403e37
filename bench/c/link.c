// link: runs a client behind a link with a delay, in a network of its own.
//
//	link MICROSECONDS COMMAND...
//
// It makes two TUN devices, one here and one in a new network namespace, and hands each packet on
// after the delay. There COMMAND runs, from the addresses 10.200.0.0/16; here is 10.201.0.1. netem
// does the same in the kernel, and not every kernel has it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PLACES 16384 // packets on their way in one direction; more are dropped, as by a real link

struct packet {
	long due; // ns
	int length;
	char bytes[1600];
};

struct direction {
	int from, to;
	struct packet *ring;
	unsigned long in, out; // how many have come and gone
};

static long delay;

static long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void die(const char *what) {
	fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void run(const char *command) {
	if (system(command) != 0) {
		fprintf(stderr, "link: %s failed\n", command);
		exit(1);
	}
}

static int tun(const char *name) {
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		die("/dev/net/tun");
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		die("TUNSETIFF");
	return fd;
}

// take reads what has come, and gives it a time.
static void take(struct direction *d) {
	for (;;) {
		static char lost[1600];
		int room = d->in - d->out < PLACES;
		struct packet *p = &d->ring[d->in % PLACES];
		ssize_t n = read(d->from, room ? p->bytes : lost, sizeof lost);
		if (n <= 0)
			return;
		if (!room)
			continue;
		p->length = (int)n;
		p->due = now() + delay;
		d->in++;
	}
}

// hand_on writes what is due, and returns when the next packet is, or 0.
static long hand_on(struct direction *d) {
	long time = now();
	for (; d->out < d->in; d->out++) {
		struct packet *p = &d->ring[d->out % PLACES];
		if (p->due > time)
			return p->due;
		if (write(d->to, p->bytes, (size_t)p->length) < 0 && errno != EAGAIN && errno != ENOBUFS)
			die("write");
	}
	return 0;
}

int main(int argc, char **argv) {
	if (argc < 3)
		return 64;
	delay = atol(argv[1]) * 1000;
	int here = tun("near");
	run("ip link set near up txqueuelen 10000 && ip addr replace 10.201.0.1/32 dev near && ip route replace 10.200.0.0/16 dev near");
	if (unshare(CLONE_NEWNET) < 0)
		die("unshare");
	int there = tun("far");
	run("ip link set lo up && ip link set far up txqueuelen 10000 && ip route add local 10.200.0.0/16 dev lo && ip route add 10.201.0.1/32 dev far");
	FILE *ports = fopen("/proc/sys/net/ipv4/ip_local_port_range", "w");
	if (!ports || fputs("1024 65535", ports) < 0 || fclose(ports) != 0)
		die("ip_local_port_range");
	signal(SIGPIPE, SIG_IGN);
	pid_t client = fork();
	if (client == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execvp(argv[2], argv + 2);
		die(argv[2]);
	}
	prctl(PR_SET_TIMERSLACK, 1UL);
	struct direction both[2] = {{.from = here, .to = there}, {.from = there, .to = here}};
	for (int i = 0; i < 2; i++)
		both[i].ring = malloc(PLACES * sizeof *both[i].ring);
	for (;;) {
		long next = now() + 50000000;
		for (int i = 0; i < 2; i++) {
			take(&both[i]);
			long due = hand_on(&both[i]);
			if (due && due < next)
				next = due;
		}
		int status;
		if (waitpid(client, &status, WNOHANG) == client)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		long left = next - now();
		struct timespec timeout = {.tv_nsec = left > 0 ? left : 0};
		struct pollfd ready[2] = {{.fd = here, .events = POLLIN}, {.fd = there, .events = POLLIN}};
		ppoll(ready, 2, &timeout, NULL);
	}
}
