"""Says where building on Beam is now."""

import sys

if __name__ == "__main__":
    sys.exit("error: building on Beam is an option of the build now: python launch.py build --runner=NAME ...")
