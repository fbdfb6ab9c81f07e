# The formula of a tap. A release adds url, tag and revision; until there is one, only `brew install --HEAD` goes.
class Stepup < Formula
  desc "Adds the second factor that Vault wants to the requests of your programs"
  homepage "https://github.com/vault-stepup/stepup"
  license "MPL-2.0"
  head "https://github.com/vault-stepup/stepup.git", branch: "main"

  depends_on "go" => :build

  def install
    ENV["CGO_ENABLED"] = "0"
    system "go", "build", *std_go_args(ldflags: "-s -w"), "./cmd/stepup"
    generate_completions_from_executable(bin/"stepup", "completion", shells: [:bash, :zsh, :fish])
    system "packaging/man", "pages"
    man1.install Dir["pages/*.1"]
    man5.install Dir["pages/*.5"]
    pkgshare.install Dir["examples/*.hcl"]
  end

  service do
    run [opt_bin/"stepup", "agent"]
    keep_alive successful_exit: false
    log_path var/"log/stepup.log"
    error_log_path var/"log/stepup.log"
  end

  test do
    assert_match "stepup", shell_output("#{bin}/stepup version")
    assert_match "mfa", shell_output("#{bin}/stepup demo --auto 2>&1").downcase
  end
end
