/* Tokens of HTTP. */
#include "base/token.h"

#include <string.h>

bool is_token(const char *s)
{
	static const char characters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~";
	return *s != '\0' && s[strspn(s, characters)] == '\0';
}
