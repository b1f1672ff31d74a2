/* Making, starting and ending the cluster. */
#include "tests/unit/drivers/postgres/postgres_server.h"

#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct postgres_server server = {.port = 5432};

static void server_die(const char *why)
{
	fprintf(stderr, "postgres_server: %s\n", why);
	exit(EXIT_FAILURE);
}

static void server_find(void)
{
	glob_t found;
	if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) != 0)
		server_die("no initdb in /usr/lib/postgresql");
	snprintf(server.bin, sizeof(server.bin), "%s", found.gl_pathv[found.gl_pathc - 1]);
	*strrchr(server.bin, '/') = '\0';
	globfree(&found);
	if (getuid() != 0)
		return;
	struct passwd *pw = getpwnam("postgres");
	if (!pw)
		pw = getpwnam("nobody");
	if (!pw)
		server_die("no user to run it");
	server.uid = pw->pw_uid;
	server.gid = pw->pw_gid;
	server.user = "x";
}

/* Run a program of PostgreSQL's as its user. The process may have threads: the child calls nothing that takes a lock.
 */
static pid_t server_spawn(char *argv[])
{
	char path[512], log[128];
	snprintf(path, sizeof(path), "%s/%s", server.bin, argv[0]);
	snprintf(log, sizeof(log), "%s/log", server.folder);
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	if (server.user && (setgid(server.gid) < 0 || setuid(server.uid) < 0))
		_exit(126);
	prctl(PR_SET_PDEATHSIG, SIGQUIT);
	int in = open("/dev/null", O_RDONLY);
	int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (chdir(server.folder) < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(126);
	argv[0] = path; /* they look for each other beside themselves */
	execv(path, argv);
	_exit(127);
}

void server_url(char *out, size_t size, const char *options)
{
	snprintf(out, size, "postgresql://postgres@/postgres?host=%s&port=%d%s", server.folder, server.port, options);
}

PGconn *server_connect(void)
{
	char url[256];
	server_url(url, sizeof(url), "");
	return PQconnectdb(url);
}

void server_run(void)
{
	char port[32];
	snprintf(port, sizeof(port), "port=%d", server.port);
	char data[128];
	snprintf(data, sizeof(data), "%s/data", server.folder);
	char *argv[] = {"postgres",
			"-D",
			data,
			"-k",
			server.folder,
			"-c",
			"listen_addresses=",
			"-c",
			"fsync=off",
			"-c",
			"max_connections=60",
			"-c",
			port,
			"-c",
			"lc_messages=C",
			NULL};
	server.pid = server_spawn(argv);
	for (int i = 0; i < 1000; i++) {
		PGconn *pg = server_connect();
		bool up = PQstatus(pg) == CONNECTION_OK;
		PQfinish(pg);
		if (up)
			return;
		usleep(10000);
	}
	server_die("it does not answer");
}

/* SIGINT: at once, connections are ended. */
static void server_end(void)
{
	kill(server.pid, SIGINT);
	waitpid(server.pid, NULL, 0);
}

static int server_remove(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

void server_stop(void)
{
	server_end();
	nftw(server.folder, server_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* Tests are forked: their scratch folders carry the number of the program, so that it finds what a test that failed has
 * left. */
static pid_t server_program(void)
{
	static pid_t program;
	if (!program)
		program = getpid();
	return program;
}

void server_sweep(void)
{
	char pattern[64];
	glob_t found;
	snprintf(pattern, sizeof(pattern), "/tmp/gatherd-pg-%d-*", (int)server_program());
	if (glob(pattern, 0, NULL, &found) == 0) {
		for (size_t i = 0; i < found.gl_pathc; i++)
			nftw(found.gl_pathv[i], server_remove, 16, FTW_DEPTH | FTW_PHYS);
		globfree(&found);
	}
}

void server_start(void)
{
	server_find();
	snprintf(server.folder, sizeof(server.folder), "/tmp/gatherd-pg-%d-XXXXXX", (int)server_program());

	if (!mkdtemp(server.folder) || (server.user && chown(server.folder, server.uid, server.gid) < 0))
		server_die("no scratch folder");
	char *argv[] = {"initdb", "-D",        server.folder, "-U",   "postgres",         "-A",
			"trust",  "--no-sync", "-E",          "UTF8", "--locale=C.UTF-8", NULL};
	/* initdb wants an empty folder, and its log goes there. */
	char data[128];
	snprintf(data, sizeof(data), "%s/data", server.folder);
	argv[2] = data;
	int status;
	pid_t pid = server_spawn(argv);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		server_die("initdb failed");
	server_run();
}

char *server_sql(const char *format, ...)
{
	char sql[4096];
	va_list ap;
	va_start(ap, format);
	vsnprintf(sql, sizeof(sql), format, ap);
	va_end(ap);
	PGconn *pg = server_connect();
	PGresult *r = PQexec(pg, sql);
	char *value = NULL;
	if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) > 0 && PQnfields(r) > 0)
		value = strdup(PQgetvalue(r, 0, 0));
	else if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
		fprintf(stderr, "server_sql: %s", PQerrorMessage(pg));
	PQclear(r);
	PQfinish(pg);
	return value;
}
