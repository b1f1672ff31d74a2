/* Files as a kind of source. */
#pragma once

#include "drivers/driver.h"

extern const struct driver files_driver;
