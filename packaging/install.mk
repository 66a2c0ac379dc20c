# make install PREFIX=/usr/local DESTDIR=

INSTALL ?= install
libdir     ?= $(PREFIX)/lib
unitdir    ?= $(PREFIX)/lib/systemd/system
docdir     ?= $(PREFIX)/share/doc/realmstore
mandir     ?= $(PREFIX)/share/man
nginxdir   ?= $(libdir)/nginx/modules

.PHONY: install install-files
install: all install-files
# What is built, put down without looking whether it is current.
install-files:
	$(INSTALL) -d $(addprefix $(DESTDIR),$(PREFIX)/bin $(PREFIX)/include $(libdir)/pkgconfig \
	  $(unitdir) $(docdir) $(mandir)/man1 $(mandir)/man3 $(mandir)/man8)
	$(INSTALL) -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	$(INSTALL) -m 755 $(BUILD)/lib/$(SONAME) $(DESTDIR)$(libdir)
	ln -sf $(SONAME) $(DESTDIR)$(libdir)/librealmstore.so
	$(INSTALL) -m 644 $(BUILD)/lib/librealmstore.a $(DESTDIR)$(libdir)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' packaging/realmstore.pc.in \
	  > $(DESTDIR)$(libdir)/pkgconfig/realmstore.pc
	chmod 644 $(DESTDIR)$(libdir)/pkgconfig/realmstore.pc
	if [ -f $(NGINX_MODULE) ]; then $(INSTALL) -d $(DESTDIR)$(nginxdir) && \
	  $(INSTALL) -m 644 $(NGINX_MODULE) $(DESTDIR)$(nginxdir); fi
	$(INSTALL) -m 644 include/realmstore.h $(DESTDIR)$(PREFIX)/include
	$(INSTALL) -m 644 docs/man/realmctl.1 $(DESTDIR)$(mandir)/man1
	$(INSTALL) -m 644 docs/man/realmstore.3 $(DESTDIR)$(mandir)/man3
	$(INSTALL) -m 644 docs/man/realm-agent.8 docs/man/realm-control.8 $(DESTDIR)$(mandir)/man8
	for unit in realm-agent realm-control; do \
	  sed 's|/usr/bin/|$(PREFIX)/bin/|' packaging/$$unit.service > $(DESTDIR)$(unitdir)/$$unit.service && \
	  chmod 644 $(DESTDIR)$(unitdir)/$$unit.service || exit 1; done
	$(INSTALL) -m 644 packaging/realm-agent.yaml packaging/realm-control.yaml README.md $(wildcard docs/*.md) \
	  docs/examples/lookup.c $(DESTDIR)$(docdir)
