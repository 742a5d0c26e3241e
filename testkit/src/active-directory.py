"""The part of active-directory.ts that needs Samba's own modules: provisions a domain, or copies one that was
provisioned before in the same run of tests, then changes its database as it is told, one JSON object a line."""

import fcntl
import json
import os
import shutil
import subprocess
import sys

from samba.param import LoadParm
from samba.credentials import Credentials
from samba.auth import system_session
from samba.samdb import SamDB
from samba.ndr import ndr_pack, ndr_unpack
from samba.dcerpc import dnsp, drsblobs, lsa, security
from samba.net import Net
from samba import dckeytab  # noqa: F401  (adds Net.export_keytab)
import ldb
import samba

setting = json.loads(sys.argv[1])
base = ','.join('DC=' + part for part in setting['domain'].split('.'))


def provision():
    """A provisioned domain says nothing about its folder and its address: it can be copied."""
    os.makedirs(setting['cache'], exist_ok=True)
    template = os.path.join(setting['cache'], setting['domain'])
    with open(template + '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(template, 'complete')):
            shutil.rmtree(template, ignore_errors=True)
            os.makedirs(template)
            conf = os.path.join(template, 'smb.conf')
            with open(conf, 'w') as file:
                file.write(setting['conf'].replace('@dir@', template))
            result = subprocess.run(
                ['samba-tool', 'domain', 'provision', '--configfile=' + conf, '--realm=' + setting['realm'],
                 '--domain=' + setting['netbios'], '--server-role=dc', '--dns-backend=SAMBA_INTERNAL',
                 '--adminpass=' + setting['password'], '--host-name=dc1', '--host-ip=' + setting['ip']],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if result.returncode != 0:
                raise RuntimeError('samba-tool domain provision: ' + result.stdout[-2000:])
            open(os.path.join(template, 'complete'), 'w').close()
    subprocess.run(['cp', '-a', '--sparse=auto', template + '/.', setting['dir']], check=True)
    with open(os.path.join(setting['dir'], 'smb.conf'), 'w') as file:
        file.write(setting['conf'].replace('@dir@', setting['dir']))


provision()
lp = LoadParm()
lp.load(os.path.join(setting['dir'], 'smb.conf'))
creds = Credentials()
creds.guess(lp)
db = SamDB(url=os.path.join(lp.get('private dir'), 'sam.ldb'), session_info=system_session(), credentials=creds, lp=lp)


def entry(sam, *attributes):
    found = db.search(base, expression='(sAMAccountName=%s)' % ldb.binary_encode(sam), attrs=list(attributes) or ['dn'])
    if len(found) != 1:
        raise ValueError('%d accounts named %s' % (len(found), sam))
    return found[0]


def modify(dn, how=ldb.FLAG_MOD_REPLACE, **attributes):
    message = ldb.Message()
    message.dn = ldb.Dn(db, str(dn))
    for name, values in attributes.items():
        name = name.replace('_', '-')
        message[name] = ldb.MessageElement(values, how, name)
    db.modify(message)


def flags(sam, set=0, clear=0):
    """Bits of userAccountControl."""
    found = entry(sam, 'userAccountControl')
    modify(found.dn, userAccountControl=str(int(str(found['userAccountControl'])) & ~clear | set))


def user(sam, flagsSet=0, groups=(), **attributes):
    if sam.endswith('$'):
        db.newcomputer(sam[:-1])
        db.setpassword('(sAMAccountName=%s)' % sam, setting['password'])
        flags(sam, clear=0x2)
    else:
        db.newuser(sam, setting['password'])
    dn = entry(sam).dn
    if attributes.get('userPrincipalName', '') is None:
        modify(dn, ldb.FLAG_MOD_DELETE, userPrincipalName=[])
        del attributes['userPrincipalName']
    if attributes:
        modify(dn, **attributes)
    if flagsSet:
        flags(sam, set=flagsSet)
    for group in groups:
        db.add_remove_group_members(group, [sam], add_members_operation=True)


def change(sam, **attributes):
    modify(entry(sam).dn, **attributes)


def remove(sam):
    db.delete(str(entry(sam).dn))


def password(sam, value):
    db.setpassword('(sAMAccountName=%s)' % ldb.binary_encode(sam), value)


def sidOf(sam):
    return {'sid': str(ndr_unpack(security.dom_sid, entry(sam, 'objectSid')['objectSid'][0]))}


def allowToActFor(service, sid):
    """Resource-based constrained delegation: `service` lets the account of a SID act on behalf of others."""
    descriptor = security.descriptor.from_sddl('O:BAD:(A;;0xf01ff;;;%s)' % sid, security.dom_sid(db.get_domain_sid()))
    change(service, msDS_AllowedToActOnBehalfOfOtherIdentity=ndr_pack(descriptor))


def address(host, ip):
    record = dnsp.DnssrvRpcRecord()
    record.wType = dnsp.DNS_TYPE_A
    record.data = ip
    record.rank = dnsp.DNS_RANK_ZONE
    record.dwTtlSeconds = 900
    record.dwSerial = 1
    dn = 'DC=%s,DC=%s,CN=MicrosoftDNS,DC=DomainDnsZones,%s' % (host, setting['domain'], base)
    try:
        db.add({'dn': dn, 'objectClass': 'dnsNode', 'dnsRecord': ndr_pack(record)})
    except ldb.LdbError as error:
        if error.args[0] != ldb.ERR_ENTRY_ALREADY_EXISTS:
            raise
        modify(dn, dnsRecord=[ndr_pack(record)])


def keytab(principal, file, only_current=False):
    Net(creds, lp).export_keytab(keytab=file, principal=principal, only_current_keys=only_current)
    os.chmod(file, 0o600)


def sid():
    return {'sid': db.get_domain_sid()}


def trust(domain, netbios, sid, password):
    """A trust in both directions, as `samba-tool domain trust create` makes it on each side over RPC."""
    secret = list(password.encode('utf-16-le'))
    clear = drsblobs.AuthInfoClear()
    clear.size = len(secret)
    clear.password = secret
    info = drsblobs.AuthenticationInformation()
    info.LastUpdateTime = samba.unix2nttime(samba.current_unix_time())
    info.AuthType = lsa.TRUST_AUTH_TYPE_CLEAR
    info.AuthInfo = clear
    array = drsblobs.AuthenticationInformationArray()
    array.count = 1
    array.array = [info]
    blob = drsblobs.trustAuthInOutBlob()
    blob.count = 1
    blob.current = array
    packed = ndr_pack(blob)
    db.add({
        'dn': 'CN=%s,CN=System,%s' % (domain, base),
        'objectClass': 'trustedDomain',
        'flatName': netbios,
        'trustPartner': domain,
        'securityIdentifier': ndr_pack(security.dom_sid(sid)),
        'trustAttributes': str(lsa.LSA_TRUST_ATTRIBUTE_FOREST_TRANSITIVE),
        'trustDirection': str(lsa.LSA_TRUST_DIRECTION_INBOUND | lsa.LSA_TRUST_DIRECTION_OUTBOUND),
        'trustType': str(lsa.LSA_TRUST_TYPE_UPLEVEL),
        'trustAuthIncoming': packed,
        'trustAuthOutgoing': packed,
        'msDS-SupportedEncryptionTypes': '24',
    })


def policy(**attributes):
    modify(base, **attributes)


commands = {f.__name__: f for f in (user, change, remove, flags, password, sidOf, allowToActFor, address, keytab, policy,
                                    sid, trust)}
print(json.dumps({'ready': True}), flush=True)
for line in sys.stdin:
    try:
        command = json.loads(line)
        print(json.dumps(commands[command.pop('do')](**command) or {'done': True}), flush=True)
    except Exception as error:  # whoever asked throws it
        print(json.dumps({'error': '%s: %s' % (type(error).__name__, error)}), flush=True)
