// floor: the least that greets: accept4, write, close, in one loop. No program does with
// less, and none should: a client that talks first is reset, one that does not read stops
// the rest, nothing is counted and nothing is logged.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argc > 1 ? argv[1] : "10000"))};
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 1 << 20) < 0) {
		perror("floor");
		return 1;
	}
	for (;;) {
		struct sockaddr_in client;
		socklen_t length = sizeof client;
		char address[INET_ADDRSTRLEN], text[64];
		int fd = accept4(listener, (struct sockaddr *)&client, &length, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		inet_ntop(AF_INET, &client.sin_addr, address, sizeof address);
		int n = snprintf(text, sizeof text, "Hello there, %s!\n", address);
		if (write(fd, text, (size_t)n) != n)
			perror("floor");
		close(fd);
	}
}
