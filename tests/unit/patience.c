/* How long a test may take. Check ends one after four seconds, or after what its case says; a busy machine may need
 * several times that for a test that is all right. One that hangs is ended all the same. CK_DEFAULT_TIMEOUT and
 * CK_TIMEOUT_MULTIPLIER of the environment come first. */
#include <stdlib.h>

static __attribute__((constructor)) void be_patient(void)
{
	setenv("CK_DEFAULT_TIMEOUT", "60", 0);
	setenv("CK_TIMEOUT_MULTIPLIER", "5", 0);
}
