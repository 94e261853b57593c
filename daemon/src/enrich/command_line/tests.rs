use proptest::prelude::*;

use super::*;

/// A command line as words; `·` is a space within one, and the first is the program.
fn words(line: &str) -> Vec<String> {
    line.split(' ').map(|word| word.replace('·', " ")).collect()
}

fn mask(line: &str) -> String {
    mask_with(&[], line)
}

fn mask_with(extra: &[&str], line: &str) -> String {
    let words = words(line);
    let extra: Vec<String> = extra.iter().map(|name| (*name).to_owned()).collect();
    let masked = Masker::new(&extra).mask(&words[0], &words);
    assert_eq!(masked.len(), words.len());
    masked.iter().map(|word| word.replace(' ', "·")).collect::<Vec<_>>().join(" ")
}

/// Each line with what is left of it; `#` stands for [`REDACTED`].
fn check(lines: &[(&str, &str)]) {
    for (line, expected) in lines {
        assert_eq!(mask(line), expected.replace('#', REDACTED), "{line}");
    }
}

#[test]
fn harmless_command_lines_stay_as_they_are() {
    for line in [
        "git commit --author=Jo·<jo@example.com> -m fix",
        "llama --tokenizer=/models/t.json --max-tokens 100 --max_tokens=100",
        "psql --no-password mydb",
        "psql --password mydb -h db.example.com -U jo",
        "mysql -u root -p mydb",
        "mysql -u docker -P 3306 -h db --password mydb",
        "restic --password-file /etc/restic -r /srv/backup backup /home",
        "restic --password-file=/etc/restic snapshots",
        "docker login -u jo --password-stdin registry.example.com",
        "docker run -p 80:80 -p8443:443 -v /run/secrets:/run/secrets --user 1000:1000 example/auth:1.2 serve",
        "docker run -u 1000:1000 nginx:1.25@sha256:0123abcd",
        "docker build --build-arg VERSION=1 --secret=no .",
        "cat /etc/secret/token /home/jo/passwords.txt",
        "kubectl get secret db-password -o yaml",
        "kubectl create secret generic db",
        "systemctl restart auth.service",
        "ssh -p 22 -o PasswordAuthentication=no -o PubkeyAuthentication=yes jo@example.com uptime",
        "scp file jo@example.com:/srv/secret/file",
        "rsync -a a:/b/ c@d:e",
        "curl -s -o /dev/null -w %{http_code} https://example.com:8443/path?email=a@b.c",
        "curl -u jo https://example.com",
        "curl -b cookies.txt https://example.com",
        "curl -H Accept:·text/html http://[::1]:80/",
        "mongod --auth --bind_ip 0.0.0.0 --port 27017",
        "mongosh --authenticationDatabase admin --authenticationMechanism SCRAM-SHA-256",
        "kube-apiserver --authorization-mode=RBAC --tls-private-key-file=/k.pem --service-account-issuer=https://x",
        "ansible-playbook --private-key ~/.ssh/id_rsa --ask-vault-pass site.yml",
        "env PWD=/srv GOOGLE_APPLICATION_CREDENTIALS=/etc/gcp.json SSH_AUTH_SOCK=/run/a run",
        "openssl rsa -in key.pem -passin file:/etc/pass -passout env:PASS",
        "openssl s_client -connect example.com:443 -key k.pem",
        "perl -MAuth::Basic -e 1",
        "java -jar app.jar --spring.security.oauth2.resourceserver.jwt.issuer-uri=https://auth.example.com",
        "git config --global credential.helper store",
        "git clone https://jo@example.com/auth/token.git",
        "git clone ssh://git@github.com/a/b",
        "bash -c for·i·in·1·2;·do·echo·\"$i\";·done",
        "grep -r password= .",
        "pytest tests/test_token.py::test_auth",
        "helm upgrade --set auth.enabled=true --set replicas=3 x ./auth",
        "certbot certonly --authenticator standalone -d example.com",
        "nginx:·worker·process",
        "docker build --secret id=npm,src=.npmrc .",
        "docker service create --secret db-password --name db postgres",
        "nats --creds /etc/nats/a.creds sub a",
        "haproxy -p /run/haproxy.pid -f /etc/haproxy.cfg",
        "java -cp /a/b:/c/auth:/d Main",
        "sshd:·jo·[priv]",
        "postgres:·jo·mydb·10.0.0.1(5432)·authentication",
        "Xorg :0 -auth /run/user/1000/Xauthority -nolisten tcp",
        "java -Djava.security.auth.login.config=/etc/jaas.conf -Dcom.sun.jmxremote.authenticate=false Main",
        "kubelet --authentication-token-webhook --enable-bootstrap-token-auth --client-cert-auth=true",
        "dockerd -H fd:// --containerd=/run/containerd/containerd.sock",
        "dbus-daemon --system --address=systemd: --nofork",
        "agetty -o -p·--·\\u --noclear - linux",
        "gh pr create --body text --title text",
        "containerd-shim-runc-v2 -namespace moby -id 0123456789abcdef0123456789abcdef -address /run/x.sock",
        "task-scheduler-with-a-very-long-name disk-0123456789abcdef0123",
    ] {
        assert_eq!(mask(line), line);
    }
}

#[test]
fn options_and_assignments_named_like_secrets_lose_their_values() {
    check(&[
        ("x --password=a·b,c&d;e", "x --password=#"),
        ("x --password hunter2 file", "x --password # file"),
        ("x --password --verbose file", "x --password --verbose file"),
        ("x -password hunter2 -user jo", "x -password # -user jo"),
        ("x --api-key=k1 --API_KEY k2 --accesskey k3", "x --api-key=# --API_KEY # --accesskey #"),
        ("x --client_secret k1 --oauth-token=k2 --auth k3", "x --client_secret # --oauth-token=# --auth #"),
        ("env PGPASSWORD=hunter2 psql -h db", "env PGPASSWORD=# psql -h db"),
        ("env AWS_SECRET_ACCESS_KEY=a/b+c= aws s3 ls", "env AWS_SECRET_ACCESS_KEY=# aws s3 ls"),
        (
            "docker run -e MYSQL_ROOT_PASSWORD=x1 --env=TOKEN=x2 mysql:8",
            "docker run -e MYSQL_ROOT_PASSWORD=# --env=TOKEN=# mysql:8",
        ),
        (
            "java -Djavax.net.ssl.keyStorePassword=changeit -jar a.jar",
            "java -Djavax.net.ssl.keyStorePassword=# -jar a.jar",
        ),
        ("keytool -list -storepass changeit -keypass changeit", "keytool -list -storepass # -keypass #"),
        ("kubectl --token=abc.def get pods", "kubectl --token=# get pods"),
        ("kubectl --token abcdef get pods", "kubectl --token # get pods"),
        (
            "kubectl create secret generic db --from-literal=password=x1",
            "kubectl create secret generic db --from-literal=password=#",
        ),
        (
            "kubeadm join 10.0.0.1:6443 --token ab.cd --discovery-token-ca-cert-hash sha256:00",
            "kubeadm join 10.0.0.1:6443 --token # --discovery-token-ca-cert-hash sha256:00",
        ),
        ("helm upgrade --set auth.password=x1,replicas=3 x ./x", "helm upgrade --set auth.password=# x ./x"),
        ("tailscale up --authkey=tskey-1", "tailscale up --authkey=#"),
        (
            "x --cookie-secret=a1 --header=Authorization:·Basic·abc",
            "x --cookie-secret=# --header=Authorization:·#",
        ),
        (
            "wget --user=jo --password=x1 --http-password x2 http://h",
            "wget --user=jo --password=# --http-password # http://h",
        ),
        ("rclone --sftp-pass x1 --rc-pass=x2 ls r:", "rclone --sftp-pass # --rc-pass=# ls r:"),
        ("restic -r rest:https://jo:x1@h/ backup", "restic -r rest:https://jo:#@h/ backup"),
        ("plink -pw x1 host", "plink -pw # host"),
        ("ansible x -e ansible_password=x1·ansible_user=jo", "ansible x -e ansible_password=#"),
    ]);
}

#[test]
fn options_of_known_programs_are_told_by_the_program() {
    check(&[
        ("mysql -uroot -phunter2 mydb", "mysql -uroot -p# mydb"),
        ("/usr/bin/mysqldump --user=root --password=x1 db", "/usr/bin/mysqldump --user=root --password=# db"),
        ("sudo -u db mariadb-dump -px1 db", "sudo -u db mariadb-dump -p# db"),
        ("docker exec -it db mysql -uroot -px1", "docker exec -it db mysql -uroot -p#"),
        ("mysql -u docker -px1", "mysql -u docker -p#"),
        ("sshpass -p x1 ssh -p 22 host", "sshpass -p # ssh -p 22 host"),
        ("sshpass -px1 scp -P 22 a host:b", "sshpass -p# scp -P 22 a host:b"),
        ("curl -u jo:x1:x2 https://h", "curl -u jo:# https://h"),
        ("curl -sSfLu jo:x1 https://h", "curl -sSfLu jo:# https://h"),
        ("curl -ujo:x1 -Ume:x2 https://h", "curl -ujo:# -Ume:# https://h"),
        ("curl --user jo:x1 --proxy-user=me:x2 h", "curl --user jo:# --proxy-user=me:# h"),
        ("curl -u key123: https://h", "curl -u #: https://h"),
        ("curl -E c.pem:x1 -b sid=x2;·t=x3 h", "curl -E c.pem:# -b # h"),
        ("curl -H Authorization:·Bearer·x1 h", "curl -H Authorization:·# h"),
        ("curl -H X-Api-Key:·x1 -HX-Auth-Token:·x2 h", "curl -H X-Api-Key:·# -HX-Auth-Token:·# h"),
        ("curl -H Cookie:·a=x1;·b=x2 h", "curl -H Cookie:·# h"),
        ("curl -d user=jo&password=x1&z=1 h", "curl -d user=jo&password=#&z=1 h"),
        (
            "curl -d {\"user\":·\"jo\",·\"password\":·\"x·1\",·\"z\":·1} h",
            "curl -d {\"user\":·\"jo\",·\"password\":·\"#\",·\"z\":·1} h",
        ),
        ("curl --oauth2-bearer x1 --pass x2 h", "curl --oauth2-bearer # --pass # h"),
        ("redis-cli -h r -a x1 ping", "redis-cli -h r -a # ping"),
        ("redis-cli -u redis://:x1@r:6379 ping", "redis-cli -u redis://:#@r:6379 ping"),
        ("redis-cli AUTH jo x1", "redis-cli AUTH # #"),
        ("redis-cli CONFIG SET requirepass x1", "redis-cli CONFIG SET requirepass #"),
        (
            "redis-server --requirepass x1 --masterauth x2 --port 1",
            "redis-server --requirepass # --masterauth # --port 1",
        ),
        ("docker login -u jo -p x1 r.example.com", "docker login -u jo -p # r.example.com"),
        ("podman login -px1 r", "podman login -p# r"),
        (
            "skopeo copy --src-creds jo:x1 docker://a docker://b",
            "skopeo copy --src-creds jo:# docker://a docker://b",
        ),
        ("mongosh -u jo -p x1 --host h", "mongosh -u jo -p # --host h"),
        ("mongodump mongodb+srv://jo:x1@c.example.com/db", "mongodump mongodb+srv://jo:#@c.example.com/db"),
        ("ldapsearch -x -D cn=a -w x1 -b dc=b", "ldapsearch -x -D cn=a -w # -b dc=b"),
        ("smbclient -U jo%x1 //h/s", "smbclient -U jo%# //h/s"),
        ("lftp -u jo,x1 h", "lftp -u jo,# h"),
        ("7z a -px1 a.7z b", "7z a -p# a.7z b"),
        ("openssl enc -aes-256-cbc -pass pass:x1 -in a", "openssl enc -aes-256-cbc -pass pass:# -in a"),
        ("openssl rsa -passin pass:x1 -k x2", "openssl rsa -passin pass:# -k #"),
        ("sqlplus scott/tiger@db @a.sql", "sqlplus scott/#@db @a.sql"),
        ("aws configure set aws_secret_access_key x1", "aws configure set aws_secret_access_key #"),
        ("npm config set //r.example.com/:_authToken x1", "npm config set //r.example.com/:_authToken #"),
        ("vault login -method=token x1", "vault login -method=token #"),
        ("vault kv put secret/db password=x1", "vault kv put secret/db password=#"),
        ("vault write auth/userpass/login/jo password=x1", "vault write auth/userpass/login/jo password=#"),
        ("gh secret set NAME --body x1", "gh secret set NAME --body #"),
        ("etcdctl --user root:x1 get a", "etcdctl --user root:# get a"),
        ("mosquitto_pub -u jo -P x1 -t a/b", "mosquitto_pub -u jo -P # -t a/b"),
        ("influx -t x1 query", "influx -t # query"),
        (
            "mc alias set m https://h AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "mc alias set m https://h # #",
        ),
        ("terraform apply -var db_password=x1", "terraform apply -var db_password=#"),
        (
            "pip install --index-url https://__token__:x1@h/simple",
            "pip install --index-url https://__token__:#@h/simple",
        ),
        ("x Server=h;User·Id=u;Password=x1;Encrypt=on", "x Server=h;User·Id=u;Password=#;Encrypt=on"),
        ("node -e f({password:\"x1\",user:\"u\"})", "node -e f({password:\"#\",user:\"u\"})"),
        ("rclone obscure x1", "rclone obscure #"),
        ("rclone config create r sftp host h pass x1", "rclone config create r sftp host h pass #"),
        ("python3 /usr/bin/http -a jo:x1 h", "python3 /usr/bin/http -a jo:# h"),
        ("xfreerdp /u:jo /p:x1 /v:h", "xfreerdp /u:jo /p:# /v:h"),
        ("ipmitool -H h -U jo -P x1 power status", "ipmitool -H h -U jo -P # power status"),
        ("snmpwalk -v2c -c x1 h", "snmpwalk -v2c -c # h"),
    ]);
}

#[test]
fn credentials_within_words_are_found() {
    check(&[
        ("git clone https://oauth2:x1@gitlab.com/a/b", "git clone https://oauth2:#@gitlab.com/a/b"),
        ("git clone https://0123456789abcdef0123@github.com/a", "git clone https://#@github.com/a"),
        (
            "git clone https://0123456789abcdef0123:x-oauth-basic@github.com/a",
            "git clone https://#:#@github.com/a",
        ),
        ("x --dsn=postgres://u:p1@h/db", "x --dsn=postgres://u:#@h/db"),
        ("psql postgresql://u:p@1/2@h:5432/db?sslmode=on", "psql postgresql://u:#@1/2@h:5432/db?sslmode=on"),
        ("psql postgresql://u:p1/2@h:5432/db", "psql postgresql://u:#@h:5432/db"),
        ("psql postgresql://u:12/2@h:5432/db", "psql postgresql://u:12/2@h:5432/db"),
        (
            "pg_dump --dbname=host=h·user=u·password='a·b'·dbname=d",
            "pg_dump --dbname=host=h·user=u·password='#'·dbname=d",
        ),
        ("psql host=h·password=x1·dbname=d", "psql host=h·password=#·dbname=d"),
        (
            "java jdbc:postgresql://h/d?user=u&password=x1&ssl=on",
            "java jdbc:postgresql://h/d?user=u&password=#&ssl=on",
        ),
        ("app u:p1@tcp(h:3306)/d", "app u:#@tcp(h:3306)/d"),
        ("mysqlsh root:p1@localhost:3306", "mysqlsh root:#@localhost:3306"),
        ("curl https://h/a?token=x1&b=2", "curl https://h/a?token=#&b=2"),
        ("curl https://h/a?b=2&access_token=x1#z", "curl https://h/a?b=2&access_token=#"),
        ("az x https://h/c?sv=1&sig=x1%3D", "az x https://h/c?sv=1&sig=#"),
        (
            "curl https://h/k?X-Amz-Credential=x1&X-Amz-Signature=x2&X-Amz-Expires=3",
            "curl https://h/k?X-Amz-Credential=#&X-Amz-Signature=#&X-Amz-Expires=3",
        ),
        ("mount -o username=u,password=x1,uid=3", "mount -o username=u,password=#,uid=3"),
        (
            "git -c http.extraHeader=Authorization:·Basic·abc fetch",
            "git -c http.extraHeader=Authorization:·# fetch",
        ),
        ("x {\"auth\":{\"apiKey\":\"x\\\"1\",\"n\":1}}", "x {\"auth\":{\"apiKey\":\"#\",\"n\":1}}"),
        ("x {\\\"token\\\":\\\"x1\\\"}", "x {\\\"token\\\":\\\"#\\\"}"),
    ]);
}

#[test]
fn tokens_are_known_by_their_shape() {
    let body = "0123456789abcdefABCDEF0123456789abcd";
    for token in [
        format!("ghp_{body}"),
        format!("gho_{body}"),
        format!("github_pat_{body}_{body}"),
        format!("glpat-{body}"),
        "xoxb-1234567890-abcdefghij".to_owned(),
        format!("sk-{body}"),
        format!("sk-proj-{body}"),
        format!("sk_live_{body}"),
        format!("hvs.{body}"),
        format!("npm_{body}"),
        format!("AIza{body}"),
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P".to_owned(),
        "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        "AKIAIOSFODNN7EXAMPLE".to_owned(),
        "-----BEGIN·RSA·PRIVATE·KEY-----\nMIIEow\n-----END·RSA·PRIVATE·KEY-----".to_owned(),
        "-----BEGIN·PRIVATE·KEY-----\nMIIEow".to_owned(),
    ] {
        assert_eq!(mask(&format!("x {token} y")), format!("x {REDACTED} y"));
        assert_eq!(mask(&format!("x --z={token}")), format!("x --z={REDACTED}"));
    }
}

#[test]
fn a_script_in_one_word_is_read_as_a_command_line() {
    check(&[
        ("sh -c mysql·-uroot·-px1·db·<·a.sql", "sh -c mysql·-uroot·-p#·db·<·a.sql"),
        ("sh -c PGPASSWORD=x1·psql·-h·db", "sh -c PGPASSWORD=#·psql·-h·db"),
        ("bash -lc export·TOKEN='a·b';·curl·-u·\"jo:x1\"·h", "bash -lc export·TOKEN='#';·curl·-u·\"jo:#\"·h"),
        (
            "ssh host curl·-H·'Authorization:·Bearer·x1'·h·|·jq·.",
            "ssh host curl·-H·'Authorization:·#'·h·|·jq·.",
        ),
        ("sh -c sh·-c·\"sshpass·-p·x1·ssh·-p·22·h\"", "sh -c sh·-c·\"sshpass·-p·#·ssh·-p·22·h\""),
        ("sh -c curl·h;·docker·run·-u·1:1·x", "sh -c curl·h;·docker·run·-u·1:1·x"),
    ]);
}

#[test]
fn names_of_ones_own_are_secret_too() {
    let line = "x --door-code=1234 DOORCODE=5678 --doorcode 9012 --door=1";
    assert_eq!(mask(line), line);
    let expected = format!("x --door-code={REDACTED} DOORCODE={REDACTED} --doorcode {REDACTED} --door=1");
    assert_eq!(mask_with(&["Door_Code", ""], line), expected);
}

#[test]
fn the_programs_own_name_is_no_option() {
    assert_eq!(mask("-bash --login"), "-bash --login");
    let masked = Masker::new(&[]).mask("mysql", &["db-client", "-px1"]);
    assert_eq!(&*masked[1], format!("-p{REDACTED}"));
    assert!(Masker::new(&[]).mask("x", &[] as &[&str]).is_empty());
}

/// Where a secret may hold anything that an argument can hold; `@` is its place.
const ANYWHERE: &[&str] = &[
    "x --password=@",
    "x --password @",
    "x -password @",
    "x --client-secret @ y",
    "env PGPASSWORD=@ psql",
    "env AWS_SECRET_ACCESS_KEY=@",
    "mysql -p@",
    "sudo mysqldump -uroot -p@ db",
    "mysql -u docker -p@",
    "sshpass -p @ ssh h",
    "sshpass -p@ ssh h",
    "curl -u jo:@ h",
    "curl -sSLu jo:@ h",
    "curl -ujo:@ h",
    "curl --user jo:@ h",
    "curl --user=jo:@",
    "curl -H Authorization:·Bearer·@ h",
    "curl -H X-Api-Key:·@ h",
    "curl -H Cookie:·sid=@ h",
    "curl -b sid=@ h",
    "redis-cli -a @ ping",
    "redis-cli AUTH jo @",
    "docker login -p @ r",
    "kubectl --token=@ get",
    "kubectl --token @ get",
    "java -Djavax.net.ssl.keyStorePassword=@ -jar a",
    "openssl rsa -passin pass:@",
    "aws configure set aws_secret_access_key @",
    "vault kv put secret/a token=@",
    "rclone obscure @",
    "rclone --sftp-pass @",
    "mongosh -p @",
    "smbclient -U jo%@ //h/s",
    "ldapsearch -w @",
    "docker run -e MYSQL_ROOT_PASSWORD=@ mysql",
    "helm upgrade --set password=@",
];
/// Where it ends at what a shell, a URL or a list of pairs ends at.
const WITHIN: &[&str] = &[
    "git clone https://oauth2:@@h/a",
    "x --dsn=postgres://u:@@h/db",
    "x redis://:@@h:1",
    "x mongodb+srv://u:@@h/db",
    "x http://h/?token=@&a=b",
    "x http://h/?a=b&access_token=@",
    "x http://h/?sig=@",
    "x http://h/?X-Amz-Signature=@",
    "x user=u·password=@·dbname=d",
    "x user=u·password='@'·dbname=d",
    "mount -o user=u,password=@,uid=3",
    "helm --set a.b.password=@,c=d",
    "x {\"password\":\"@\"}",
    "x {\"tokens\":[\"a\",\"@\"]}",
    "x {\"password\":·\"@\",·\"a\":·1}",
    "x {\\\"apiKey\\\":\\\"@\\\"}",
    "x u:@@tcp(h:1)/d",
    "sh -c mysql·-p@·db",
    "sh -c curl·-u·jo:@·h",
    "sh -c PGPASSWORD=@·psql",
    "sh -c curl·-H·'Authorization:·Bearer·@'·h",
    "sh -c curl·-H·\"X-Api-Key:·@\"·h",
    "ssh h sshpass·-p·@·ssh·g",
    "sh -c sh·-c·\"x·--password·@·y\"",
    "x --from-literal=password=@",
    "x --header=Authorization:·Bearer·@",
    "git -c http.extraHeader=Authorization:·@",
];
const SHAPES: &[&str] =
    &["x ghp_@", "x eyJ@.@.@", "x glpat-@", "x sk-@", "x AIza@", "x npm_@", "x --y=hvs.@"];

fn never_survives(template: &str, secret: &str) -> Result<(), TestCaseError> {
    // `@@` is a secret followed by an @.
    let template = template.replace("@@", "@\u{1}");
    let words: Vec<String> =
        words(&template).iter().map(|word| word.replace('@', secret).replace('\u{1}', "@")).collect();
    let masked = Masker::new(&[]).mask(&words[0], &words);
    prop_assert_eq!(masked.len(), words.len());
    for word in masked {
        prop_assert!(!word.contains("S3cr3t") && !word.contains("t3rc3S"), "{} of {:?}", word, words);
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_secret_in_a_known_place_never_survives(
        template in prop::sample::select(ANYWHERE),
        secret in "S3cr3t\\PC{0,12}t3rc3S",
    ) {
        never_survives(template, &secret)?;
    }

    #[test]
    fn a_secret_within_a_word_never_survives(
        template in prop::sample::select(WITHIN),
        secret in "S3cr3t[A-Za-z0-9_.~%+^*!$-]{0,12}t3rc3S",
    ) {
        never_survives(template, &secret)?;
    }

    #[test]
    fn a_secret_of_known_shape_never_survives(
        template in prop::sample::select(SHAPES),
        secret in "S3cr3t[A-Za-z0-9]{20,30}t3rc3S",
    ) {
        never_survives(template, &secret)?;
    }

    #[test]
    fn whatever_the_words_are_their_number_stays(
        name in any::<String>(),
        words in prop::collection::vec(any::<String>(), 0..8),
    ) {
        prop_assert_eq!(Masker::new(&["x".to_owned()]).mask(&name, &words).len(), words.len());
    }

    #[test]
    fn words_made_of_what_matters_never_panic(
        words in prop::collection::vec(
            prop::collection::vec(
                prop::sample::select(vec![
                    "mysql", "curl", "sshpass", "docker", "login", "-p", "-u", "--password", "token", "=", ":", "@",
                    "://", "/", "?", "&", ",", ";", "'", "\"", "\\", " ", "\n", "é", "-", "Authorization", "set",
                    "redis-cli", "AUTH", "eyJ", "-----BEGIN PRIVATE KEY-----", "1", "[REDACTED]",
                ]),
                0..8,
            ),
            0..6,
        )
    ) {
        let words: Vec<String> = words.into_iter().map(|parts| parts.concat()).collect();
        let masked = Masker::new(&[]).mask("sh", &words);
        prop_assert_eq!(masked.len(), words.len());
    }
}
