// verify.sh and VERIFY.md: how somebody who trusts none of our software checks a bundle. Constant texts.
#pragma once

#include <string_view>

namespace stella::evidence {

// POSIX shell; needs openssl, sha256sum, tar, awk and the usual small tools.
// `sh verify.sh KEY.pub... [BUNDLE]`: exit 0 all that it checks holds, 1 something does not (it says what), 2 nothing to check with.
// Of several keys one must have signed; what is not called *.pub or *.pem is never taken for a key, except the first argument.
// Published outside of bundles too: the copy inside could have been changed together with the rest.
std::string_view verify_sh();
std::string_view verify_md();

}  // namespace stella::evidence
