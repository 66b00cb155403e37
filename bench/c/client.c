// client: connects, reads what the server says until it hangs up, checks it, hangs up,
// and begins anew, with a number of connections at any time. One thread, one epoll set:
// it must be cheap, since it shares the machine with the server.
//
//	client -p PORT [-a SERVER -f FIRST] [-c CONCURRENT] [-t SECONDS] [-s SOURCES] [-m plain|tls|proxy] [-R RATE | -H] [-r BYTES]
//
// Clients of SERVER, 127.0.0.1, come from SOURCES addresses, FIRST (127.0.0.2) and up, and each is to be told
// "Hello there, ITS ADDRESS!\n" and nothing else. Prints one line of JSON.
//
// With -R, it is an open loop: RATE connections a second begin at fixed times, whatever became
// of those before, and a duration counts from the time at which its connection was due. At most
// CONCURRENT are under way; one that finds no place begins late, and its duration has that too.
//
// With -H, each of the CONCURRENT clients reads the greeting once and holds on: "held N" is
// printed when all have it, and the end of standard input ends them. With -r, they have a
// receive buffer of so many bytes, and read nothing.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum mode { PLAIN, TLS, PROXY };

struct client {
	int fd;
	int source;
	int got;     // bytes of the greeting so far
	int shaking; // TLS is not established yet
	long began;  // ns
	SSL *ssl;
	struct client *next; // in the list of free places
	char text[64];
};

static enum mode mode;
static int port = 10000, concurrent = 64, sources = 200, hold, receive_buffer, set;
static double seconds = 3, rate; // rate 0: a closed loop
static SSL_CTX *tls;
static struct client *clients, *unused;
static char (*expected)[64];
static int *expected_length;
static struct sockaddr_in *addresses;
static struct in_addr server = {0}, first = {0};
static long done, bad, held;

// Durations are counted in buckets of 1/64 of their power of two, so within 1.6 %.
static long histogram[64 * 64];

static long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void die(const char *what) {
	fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int bucket(long ns) {
	if (ns < 64)
		return ns < 0 ? 0 : (int)ns;
	int log = 63 - __builtin_clzl((unsigned long)ns);
	return (log - 5) * 64 + (int)((ns >> (log - 6)) & 63);
}

static double quantile(double q) {
	long want = (long)(q * (double)(done - 1)) + 1;
	for (int i = 0; i < 64 * 64; i++)
		if ((want -= histogram[i]) <= 0) {
			if (i < 64)
				return i;
			return (double)(64 + i % 64) * (double)(1L << (i / 64 - 1));
		}
	return 0;
}

// proxy_header is PROXY protocol version 2 for a client at the source's address.
static int proxy_header(char *to, int source) {
	static const char start[16] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
	memcpy(to, start, 16);
	memcpy(to + 16, &addresses[source].sin_addr, 4);
	memcpy(to + 20, "\x7f\0\0\x01\x30\x39\x27\x10", 8);
	return 28;
}

// begin connects for a client whose duration counts from due, or from now if that is 0.
static void begin(struct client *c, long due) {
	static int next;
	c->source = next++ % sources;
	c->got = 0;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	int one = 1;
	struct sockaddr_in from = addresses[mode == PROXY ? 0 : c->source];
	setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	if (bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0)
		die("bind");
	if (receive_buffer)
		setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port),
		.sin_addr = server};
	c->began = due ? due : now();
	if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
		die("connect");
	if (mode == TLS) {
		c->ssl = SSL_new(tls);
		SSL_set_fd(c->ssl, c->fd);
		SSL_set_connect_state(c->ssl);
		c->shaking = 1;
	}
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
	if (mode != PLAIN)
		event.events |= EPOLLOUT; // the client speaks first
	if (epoll_ctl(set, EPOLL_CTL_ADD, c->fd, &event) < 0)
		die("epoll_ctl");
}

static void end(struct client *c, int good) {
	if (good)
		good = c->got == expected_length[c->source] && !memcmp(c->text, expected[c->source], (size_t)c->got);
	bad += !good;
	histogram[bucket(now() - c->began)]++;
	done++;
	if (c->ssl)
		SSL_free(c->ssl);
	c->ssl = NULL;
	close(c->fd);
	if (!rate) {
		begin(c, 0);
		return;
	}
	c->next = unused;
	unused = c;
}

// receive returns what read(2) would: bytes, 0 at the end, -1 with EAGAIN or an error.
static int receive(struct client *c, char *to, int room) {
	if (mode != TLS)
		return (int)read(c->fd, to, (size_t)room);
	int n = SSL_read(c->ssl, to, room);
	if (n > 0)
		return n;
	switch (SSL_get_error(c->ssl, n)) {
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		errno = EAGAIN;
		return -1;
	default:
		errno = EPROTO;
		return -1;
	}
}

static void quiet(struct client *c) {
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
	epoll_ctl(set, EPOLL_CTL_MOD, c->fd, &event);
}

static void serve(struct client *c, unsigned events) {
	if (mode == PROXY && events & EPOLLOUT) {
		char header[32];
		int length = proxy_header(header, c->source);
		if (send(c->fd, header, (size_t)length, MSG_NOSIGNAL) != length) {
			end(c, 0);
			return;
		}
		quiet(c);
	}
	if (c->shaking) {
		int n = SSL_do_handshake(c->ssl);
		if (n != 1) {
			int why = SSL_get_error(c->ssl, n);
			if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
				end(c, 0);
			else if (events & EPOLLOUT && why == SSL_ERROR_WANT_READ)
				quiet(c);
			return;
		}
		c->shaking = 0;
	}
	for (;;) {
		char more[4096];
		int room = (int)sizeof c->text - c->got;
		int n = room > 0 ? receive(c, c->text + c->got, room) : receive(c, more, sizeof more);
		if (n < 0) {
			if (errno != EAGAIN)
				end(c, 0);
			return;
		}
		if (n == 0) {
			end(c, 1);
			return;
		}
		c->got += n;
		if (hold && c->got == expected_length[c->source]) {
			held++;
			epoll_ctl(set, EPOLL_CTL_DEL, c->fd, NULL);
			return;
		}
	}
}

static void prepare(void) {
	clients = calloc((size_t)concurrent, sizeof *clients);
	expected = calloc((size_t)sources, sizeof *expected);
	expected_length = calloc((size_t)sources, sizeof *expected_length);
	addresses = calloc((size_t)sources, sizeof *addresses);
	for (int i = 0; i < sources; i++) {
		unsigned address = ntohl(first.s_addr) + (unsigned)i;
		addresses[i].sin_family = AF_INET;
		addresses[i].sin_addr.s_addr = htonl(address);
		expected_length[i] = snprintf(expected[i], sizeof *expected, "Hello there, %u.%u.%u.%u!\n",
			address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
	}
	if (mode == TLS) {
		tls = SSL_CTX_new(TLS_client_method());
		SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
		SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
	}
	set = epoll_create1(EPOLL_CLOEXEC);
}

static void report(double took) {
	struct rusage used;
	getrusage(RUSAGE_SELF, &used);
	double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		(double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
	printf("{\"connections\":%ld,\"bad\":%ld,\"seconds\":%.6f,\"client_cpu_seconds\":%.6f,"
		"\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f}\n", done, bad, took, cpu,
		quantile(.5) / 1e3, quantile(.99) / 1e3, quantile(.999) / 1e3);
}

static void wait_and_serve(long ns) {
	struct epoll_event events[256];
	struct timespec timeout = {.tv_sec = ns / 1000000000L, .tv_nsec = ns % 1000000000L};
	int n = epoll_pwait2(set, events, 256, &timeout, NULL);
	for (int i = 0; i < n; i++)
		serve(events[i].data.ptr, events[i].events);
}

static void closed_loop(long start) {
	for (int i = 0; i < concurrent; i++)
		begin(&clients[i], 0);
	long stop = start + (long)(seconds * 1e9), latest = stop + 20000000000L;
	while (now() < stop || (!done && now() < latest)) // on a busy machine the first may take longer
		wait_and_serve(100000000);
}

// open_loop begins connections when they are due, and returns when all have ended.
static void open_loop(long start) {
	prctl(PR_SET_TIMERSLACK, 1UL);
	for (int i = 0; i < concurrent; i++) {
		clients[i].next = unused;
		unused = &clients[i];
	}
	long all = (long)(rate * seconds), begun = 0;
	while (done < all) {
		long due = start + (long)((double)begun * 1e9 / rate), left = due - now();
		if (begun < all && left <= 0 && unused) {
			struct client *c = unused;
			unused = c->next;
			begin(c, due);
			begun++;
			if (begun % 16) // those that are late do not keep the others from being served
				continue;
			left = 0;
		}
		wait_and_serve(begun < all && unused ? left : 100000000);
	}
}

static void hold_on(void) {
	for (int i = 0; i < concurrent; i++)
		begin(&clients[i], 0);
	if (receive_buffer)
		held = concurrent;
	while (held < concurrent) {
		wait_and_serve(100000000);
		if (done)
			die("a client was not greeted");
	}
	printf("held %ld\n", held);
	fflush(stdout);
	while (getchar() != EOF)
		;
}

int main(int argc, char **argv) {
	server.s_addr = htonl(INADDR_LOOPBACK);
	first.s_addr = htonl(INADDR_LOOPBACK + 1);
	for (int option; (option = getopt(argc, argv, "p:a:f:c:t:s:m:R:Hr:")) != -1;) {
		switch (option) {
		case 'p': port = atoi(optarg); break;
		case 'a': server.s_addr = inet_addr(optarg); break;
		case 'f': first.s_addr = inet_addr(optarg); break;
		case 'c': concurrent = atoi(optarg); break;
		case 't': seconds = atof(optarg); break;
		case 's': sources = atoi(optarg); break;
		case 'm': mode = !strcmp(optarg, "tls") ? TLS : !strcmp(optarg, "proxy") ? PROXY : PLAIN; break;
		case 'R': rate = atof(optarg); break;
		case 'H': hold = 1; break;
		case 'r': receive_buffer = atoi(optarg); break;
		default: return 64;
		}
	}
	prepare();
	if (hold) {
		hold_on();
		return 0;
	}
	long start = now();
	if (rate)
		open_loop(start);
	else
		closed_loop(start);
	report((double)(now() - start) / 1e9);
	return 0;
}
