"""The part of gss-acceptor.ts that needs MIT's library: accepts tokens with the keys of one keytab."""

import base64
import json
import sys

import gssapi
import gssapi.raw as raw

keytab = sys.argv[1]
credentials = raw.acquire_cred_from({b'keytab': keytab.encode(), b'rcache': b'none:'}, usage='accept').creds

for line in sys.stdin:
    asked = json.loads(line)
    binding = asked.get('binding')
    bindings = raw.ChannelBindings(application_data=base64.b64decode(binding)) if binding else None
    try:
        accepted = raw.accept_sec_context(base64.b64decode(asked['token']), acceptor_creds=credentials,
                                          channel_bindings=bindings)
        name = raw.display_name(accepted.initiator_name, False).name.decode()
        # The binding's flag is newer than this module, which leaves out what it does not know.
        flags = 0
        for flag in accepted.flags:
            flags |= int(flag)
        answer = {'user': name, 'flags': flags, 'reply': base64.b64encode(accepted.token or b'').decode()}
    except gssapi.exceptions.GSSError as refused:
        answer = {'refused': refused.maj_code, 'minor': refused.min_code, 'text': str(refused)[:300],
                  'reply': base64.b64encode(refused.token or b'').decode()}
    print(json.dumps(answer), flush=True)
