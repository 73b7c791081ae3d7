/* The least that a sidecar with a socket and an exec probe can be: `bare bind PATH` listens, `bare ready PATH` connects. */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void end(int signal) {
    (void)signal;
    _exit(0);
}

int main(int count, char **words) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int socket_ = socket(AF_UNIX, SOCK_STREAM, 0);
    if (count != 3 || strlen(words[2]) >= sizeof address.sun_path || socket_ < 0) return 2;
    strcpy(address.sun_path, words[2]);
    if (strcmp(words[1], "ready") == 0) return connect(socket_, (struct sockaddr *)&address, sizeof address) != 0;
    /* The first process of a container gets no signal that it has not asked for. */
    signal(SIGTERM, end);
    unlink(words[2]);
    if (bind(socket_, (struct sockaddr *)&address, sizeof address) != 0 || listen(socket_, 16) != 0) return 1;
    for (;;) pause();
}
