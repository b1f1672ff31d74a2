/* The control socket, from the outside. */
#include "daemon/control_call.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "base/compiler.h"

#define SERVICE_SOCKET "/run/gatherd/control.sock" /* RuntimeDirectory= of the unit */
#define SERVICE_USER   "gatherd"

/* --- where --- */

/* As the daemon finds it (server.control): within the unit, ExecReload= too, the folder is in the environment. */
static void find_socket(struct control_call *c, const char *control)
{
	const char *folders = getenv("RUNTIME_DIRECTORY");
	if (control)
		snprintf(c->path, sizeof(c->path), "%s", control);
	else if (folders && folders[0] == '/')
		snprintf(c->path, sizeof(c->path), "%.*s/control.sock", (int)strcspn(folders, ":"), folders);
	else
		snprintf(c->path, sizeof(c->path), SERVICE_SOCKET);
}

bool control_call_open(struct control_call *c, const char *control, const char *target)
{
	char address[sizeof(c->path) + 8];
	signal(SIGPIPE, SIG_IGN);
	find_socket(c, control);
	snprintf(address, sizeof(address), "unix:%s", c->path);
	bool opened = c->path[0] == '/' && ask_open(&c->ask, address, target);
	if (!opened)
		fprintf(stderr, "gatherd: %s: expected the absolute path of a Unix socket\n", c->path);
	return opened;
}

bool control_call_posts(struct control_call *c, const char *body)
{
	return curl_easy_setopt(c->ask.curl, CURLOPT_POST, 1L) == CURLE_OK &&
	       curl_easy_setopt(c->ask.curl, CURLOPT_COPYPOSTFIELDS, body) == CURLE_OK;
}

/* --- what went wrong --- */

/* Who may: root, and the user that the daemon runs as. */
static const char *owner_of(const char *path)
{
	struct stat st;
	const struct passwd *user = stat(path, &st) == 0 && st.st_uid != 0 ? getpwuid(st.st_uid) : NULL;
	return user ? user->pw_name : SERVICE_USER;
}

static int tell_no_answer(const struct control_call *c)
{
	if (c->errnum == EACCES || c->errnum == EPERM) {
		fprintf(stderr, "gatherd: %s: permission denied: run it as root or as user %s\n", c->path,
			owner_of(c->path));
		return EX_NOPERM;
	}
	fprintf(stderr, "gatherd: %s: nobody answers there: %s\n", c->path,
		c->errnum ? strerror(c->errnum) : c->ask.why);
	return EX_UNAVAILABLE;
}

/* An answer that is not the one for what was asked: another program's, or an older gatherd's. */
static int tell_stranger(const struct control_call *c, long status)
{
	fprintf(stderr, "gatherd: %s: it answers %ld, which is not a gatherd of this version's answer\n", c->path,
		status);
	return EX_UNAVAILABLE;
}

int control_call_failed(const struct control_call *c, long status)
{
	return status == 0 ? tell_no_answer(c) : tell_stranger(c, status);
}
